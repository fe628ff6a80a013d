"""What a run proposes to label next: squares on a map, a picture, and a template that the tiles are cut from."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image
from typer.testing import CliRunner

from overwatt.aoi.errors import AssetReadError, ConfigError, OverwattError, RegistryError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.models.training import tileset
from overwatt.models.training.samples import DATA_CENTER, IGNORE
from overwatt.workflows.cli import main
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.raster_checks import content_sha256
from overwatt.workflows.tiles.cut import cut
from overwatt.workflows.tiles.labels import LabelFile
from overwatt.workflows.tiles.proposals import RANDOM_SHARE, SQUARE_M, propose
from overwatt.workflows.tiles.splits import TileSettings
from tests.support import NORTH_M, UTM_26N, WEST_M, corrupt_block, names, naming, write_image

SIDE = 900
# column, row, side in pixels of 2 m, class, score of the class, novelty
OBJECTS = [
    *((5 + 110 * i, 20, 40, "other_building", 0.55, 1.0) for i in range(8)),  # eight equal roofs
    (700, 100, 60, "data_center", 0.6, 6.0),
    (100, 700, 50, "other_building", 0.99, 1.0),
    (120, 770, 20, "cooling_equipment", 0.5, 1.0),
    (700, 700, 50, "data_center", 0.99, 1.0),
]
DECLARED = {"near": (450, 450, 50.0), "vague": (200, 450, 5000.0)}


def outline(x, y, side):
    box = shapely.box(WEST_M + 2 * x, NORTH_M - 2 * (y + side), WEST_M + 2 * (x + side), NORTH_M - 2 * y)
    return gpd.GeoSeries([box], crs=UTM_26N).to_crs(4326).iloc[0]


def table(path, rows, shapes):
    gpd.GeoDataFrame(rows, geometry=shapes, crs=4326).to_parquet(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run leaves behind, as far as proposals need it."""
    folder = tmp_path_factory.mktemp("run")
    pixels = np.random.default_rng(8).integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
    image = write_image(folder / "image.tif", pixels)
    frame = pd.DataFrame(OBJECTS, columns=["x", "y", "side", "class", "score", "epistemic"])
    frame["object_id"] = [f"{k[0]}{x}_{y}" for k, x, y in zip(frame["class"], frame["x"], frame["y"], strict=True)]
    frame["area_m2"] = 4.0 * frame.pop("side") ** 2
    shapes = [outline(*o[:3]) for o in OBJECTS]
    table(folder / "footprints.parquet", frame.drop(columns=["x", "y"]), shapes)
    table(folder / "sites.parquet", {"site_id": ["S1"], "p_data_center": [0.6]}, [shapes[8]])
    ids, places = list(DECLARED), [outline(x, y, 1).centroid for x, y, _ in DECLARED.values()]
    table(folder / "ledger.parquet", {"class": ["not_seen"] * 2, "declared_id": ids}, places)
    errors = [e for *_, e in DECLARED.values()]
    table(folder / "declared.parquet", {"declared_id": ids, "position_error_m": errors}, places)
    probability = np.zeros((4, SIDE, SIDE), np.uint8)
    probability[0] = 255
    probability[0, 600:, 300:450] = 60  # built-up ground without an outline
    write_image(folder / "probability.tif", probability, names=run_folder.RASTER_BANDS, photometric="MINISBLACK")
    manifest = {
        "parameters": {"imagery": {"path": str(image)}, "detector": {"weights": None, "profile": None}},
        "inputs": {"imagery": content_sha256(image), "weights": load_card(DEFAULT_WEIGHTS).weights_sha256},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def squares(folder):
    return gpd.read_file(folder / "squares.geojson")


@pytest.fixture(scope="module")
def proposed(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("proposed")
    return propose(run, 8, out), out


def test_uncertain_novel_diverse_and_random_squares_come_with_reasons(proposed):
    result, out = proposed
    found = squares(out)
    assert result["squares"] == {"most_useful": 6, "random": round(8 * RANDOM_SHARE)}
    assert result["random_share"] == 0.25
    assert found["rank"].tolist() == list(range(1, 9))
    first = found.iloc[0]
    assert first["object_id"] == "d700_100", "uncertain, novel and large"
    assert names(first["why"], "building", "14,400", "novelty 6.0")
    assert 0.5 < first["uncertainty"] <= 1
    assert found["uncertainty"][found["kind"] == "random"].isna().all()
    assert (found["kind"] == "declared").sum() == 1, "a declared place within its square; the vague one is nowhere"
    assert found["why"].str.contains("'near'").sum() == 1
    rank = dict(zip(found["object_id"], found["rank"], strict=True))
    equal = sorted(rank[k] for k in rank if str(k).endswith("_20"))
    assert rank["near"] < equal[1], "a second one of the equal roofs teaches less than a place of another kind"
    local = found.to_crs(UTM_26N)
    assert np.allclose(local.area, SQUARE_M**2, rtol=0.02)
    overlaps = shapely.area(shapely.intersection(*np.meshgrid(local.geometry, local.geometry)))
    assert (overlaps[~np.eye(8, dtype=bool)] < 1).all()
    random = found[found["kind"] == "random"]
    calls = [outline(*o[:3]) for o in OBJECTS if o[3] != "other_building"]
    assert not any(s.intersects(c) for s in random.geometry for c in calls)
    assert (random["built_up"] > 0.5).any(), "built-up ground is drawn first"


def test_the_sheet_is_a_picture_and_the_same_run_gives_the_same_files(run, proposed, tmp_path):
    _, out = proposed
    names_ = {"squares.geojson", "to_label.geojson", "contact_sheet_01.png"}
    assert {p.name for p in out.iterdir()} - {".lock"} == names_
    with Image.open(out / "contact_sheet_01.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 600
    (tmp_path / "contact_sheet_02.png").write_bytes(b"of an earlier, larger proposal")
    propose(run, 8, tmp_path)
    assert all((tmp_path / n).read_bytes() == (out / n).read_bytes() for n in names_)
    assert not (tmp_path / "contact_sheet_02.png").exists()
    propose(run, 8, tmp_path, seed=3)
    ours, theirs = (s[s["kind"] != "random"] for s in (squares(out), squares(tmp_path)))
    assert ours["object_id"].tolist() == theirs["object_id"].tolist(), "the seed is of the random squares"


def test_the_filled_template_becomes_tiles(run, proposed, tmp_path):
    _, out = proposed
    image, file = run / "image.tif", tmp_path / "to_label.geojson"
    template = gpd.read_file(out / "to_label.geojson")
    assert set(template["class"]) == {"unknown"}
    assert set(template["proposed"].dropna()) <= {"data_center", "other_building", "cooling_equipment"}
    template.to_file(file)
    s = TileSettings(size_px=128, unlabelled="ignore", shares=(1.0, 0.0, 0.0), licence="x")
    with pytest.raises(ConfigError, match="tile"):
        cut([image], [LabelFile(file)], tmp_path / "none", s)
    first = template["id"] == "square-1"
    template.loc[first, "class"] = "background"
    template.loc[template["id"] == "d700_100", "class"] = "data_center"
    template.to_file(file)
    cut([image], [LabelFile(file)], tmp_path / "tiles", s)
    pictures = tileset.pictures_of(tmp_path / "tiles", "train")
    count = {code: sum(int((p.building == code).sum()) for p in pictures) for code in (0, DATA_CENTER, IGNORE)}
    assert count[DATA_CENTER] == pytest.approx(60**2, rel=0.05)
    local = template.to_crs(UTM_26N)
    left = local.geometry[first].iloc[0].difference(local.geometry[template["proposed"].notna()].union_all())
    assert count[0] == pytest.approx(left.area / 4, rel=0.05), "what is outlined and still unknown is no background"
    assert count[IGNORE] > 0, "ground outside of the squares is unknown"


def test_what_is_labelled_or_judged_is_not_proposed_again(run, tmp_path):
    file = tmp_path / "labels.geojson"
    shapes, classes = [outline(*OBJECTS[0][:3]), outline(*OBJECTS[-1][:3])], ["other_building", "unknown"]
    gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs=4326).to_file(file)
    row = {"disposition_id": "d1", "site_id": "S1", "finding": "not_dc", "time": "2026-05-01", "outline": None}
    pd.DataFrame([row]).to_csv(tmp_path / "d.csv", index=False)
    propose(run, 40, tmp_path / "out", labels=[LabelFile(file)], dispositions=tmp_path / "d.csv")
    named = set(squares(tmp_path / "out")["object_id"])
    assert not named & {"o5_20", "d700_100"}
    ids = set(gpd.read_file(tmp_path / "out" / "to_label.geojson")["id"])
    assert not ids & {"o5_20", "d700_100"}
    assert "d700_700" in ids, "an outline of class unknown is no label"


def test_fewer_squares_than_wanted_and_foreign_weights_are_said(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        if path.name not in ("ledger.parquet", "image.tif"):
            (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["inputs"]["weights"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    result = propose(copy, 500, tmp_path / "out")
    assert any("weights" in w for w in result["warnings"])
    assert any(names(w, sum(result["squares"].values())) for w in result["warnings"])
    assert "near" not in set(squares(tmp_path / "out")["object_id"])
    assert len(list((tmp_path / "out").glob("*.png"))) == -(-sum(result["squares"].values()) // 24)


def test_a_damaged_run_is_refused_before_anything_is_written(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    with pytest.raises(RegistryError, match=naming("footprints.parquet")):
        propose(copy, 5, tmp_path / "out")
    for path in run.iterdir():
        if path.name != "image.tif":
            (copy / path.name).write_bytes(path.read_bytes())
    corrupt_block(copy / "probability.tif", 1, 1)
    with pytest.raises(AssetReadError, match=naming("probability.tif")):
        propose(copy, 5, tmp_path / "out")
    write_image(copy / "probability.tif", np.zeros((1, 9, 9), np.float32), names=())
    with pytest.raises(AssetReadError, match=naming("probability.tif")):
        propose(copy, 5, tmp_path / "out")
    (copy / "manifest.json").write_text("[")
    with pytest.raises(RegistryError, match=naming("manifest.json")):
        propose(copy, 5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_proposes_and_names_what_contradicts(run, tmp_path):
    arguments = ["tiles", "--from-run", str(run), "--most-useful", "5", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout.splitlines()[-1])["squares"] == {"most_useful": 4, "random": 1}
    for wrong, words in [
        (["--from-run", "x"], ("--from-run", "--most-useful")),
        (["--most-useful", "3"], ("--from-run", "--most-useful")),
        (["--from-run", "x", "--most-useful", "3", "--run", "x"], ("--run", "--from-run")),
        (["--from-run", "x", "--most-useful", "3000"], ("--most-useful", 3000, 1000)),
    ]:
        error = CliRunner().invoke(main.app, ["tiles", *wrong, "--out", str(tmp_path)]).exception
        assert isinstance(error, OverwattError)
        assert names(str(error), *words), error


@pytest.mark.parametrize("klass", ["car_park", "substation"])
def test_car_parks_and_substations_are_ground_without_a_building(run, tmp_path, klass):
    file = tmp_path / "l.geojson"
    shapes = [outline(100, 100, 60), outline(110, 110, 20), outline(140, 140, 10)]
    gpd.GeoDataFrame({"class": ["unknown", klass, "data_center"]}, geometry=shapes, crs=4326).to_file(file)
    s = TileSettings(size_px=256, unlabelled="ignore", shares=(1.0, 0.0, 0.0), licence="x")
    cut([run / "image.tif"], [LabelFile(file)], tmp_path / "tiles", s)
    (picture,) = tileset.pictures_of(tmp_path / "tiles", "train")
    assert (picture.building == 0).sum() == pytest.approx(20**2, rel=0.1)
    assert (picture.building == DATA_CENTER).sum() == pytest.approx(10**2, rel=0.2)


def test_an_area_smaller_than_a_square_gives_one_square_and_none_at_random(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        if path.name not in ("image.tif", "ledger.parquet", "probability.tif"):
            (copy / path.name).write_bytes(path.read_bytes())
    write_image(copy / "probability.tif", np.zeros((4, 90, 90), np.uint8), photometric="MINISBLACK", names=())
    table(copy / "footprints.parquet", gpd.read_parquet(run / "footprints.parquet").head(1).drop(columns="geometry"),
          [outline(*OBJECTS[0][:3])])  # fmt: skip
    result = propose(copy, 5, tmp_path / "out", images=[run / "image.tif"])
    assert result["squares"] == {"most_useful": 1, "random": 0}
    labels = tmp_path / "l.geojson"
    gpd.GeoDataFrame({"class": ["other_building"]}, geometry=[outline(*OBJECTS[0][:3])], crs=4326).to_file(labels)
    with pytest.raises(ConfigError, match="nothing is left to label"):
        propose(copy, 5, tmp_path / "none", images=[run / "image.tif"], labels=[LabelFile(labels)])
    assert not (tmp_path / "none").exists()

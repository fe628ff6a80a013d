"""`overwatt tiles` end to end: what comes out, that nothing leaks, that nothing depends on order, workers or stops."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from typer.testing import CliRunner

from overwatt.aoi.errors import ConfigError, GridError, ModelContractError, OverwattError, RegistryError
from overwatt.models.training import tileset
from overwatt.models.training.spatial_splits import leaks
from overwatt.workflows.cli import main
from overwatt.workflows.tiles import cut as tiles
from overwatt.workflows.tiles.labels import LabelFile
from overwatt.workflows.tiles.splits import TileSettings
from tests.support import NORTH_M, UTM_26N, WEST_M, corrupt_block, names, naming, write_image

SMALL = TileSettings(size_px=128, licence="CC0-1.0")
# (column, row, side) in pixels of 2 m and class: four campuses of two halls, 200 m or more apart, and a shed
HALLS = [
    (20, 20, 24, "data_center"), (60, 20, 24, "other_building"), (220, 30, 24, "data_center"),
    (250, 70, 24, "data_center"), (30, 220, 24, "data_center"), (70, 220, 24, "other_building"),
    (230, 230, 24, "data_center"), (262, 230, 16, "unknown"), (130, 130, 20, "other_building"),
]  # fmt: skip


def outline(x, y, side, west=WEST_M):
    return shapely.box(west + 2 * x, NORTH_M - 2 * (y + side), west + 2 * (x + side), NORTH_M - 2 * y)


def labels(path, halls=HALLS, west=WEST_M, **columns):
    shapes = [outline(*h[:3], west) for h in halls]
    frame = gpd.GeoDataFrame({"class": [h[3] for h in halls], **columns}, geometry=shapes, crs=UTM_26N)
    frame.to_crs(4326).to_file(path)
    return path


@pytest.fixture(scope="module")
def district(tmp_path_factory):
    """An image of 300 x 300 pixels and its labels."""
    folder = tmp_path_factory.mktemp("district")
    pixels = np.random.default_rng(8).integers(1, 255, (3, 300, 300), dtype=np.uint8)
    return write_image(folder / "district.tif", pixels), labels(folder / "labels.geojson")


def cut(images, files, out, settings_=SMALL, **more):
    result = tiles.cut(list(images), [LabelFile(Path(f)) for f in files], out, settings_, **more)
    return result, tileset.read_index(out)


def test_tiles_hold_the_pixels_and_outlines_of_their_place(tmp_path, district):
    image, file = district
    result, index = cut([image], [file], tmp_path / "out")
    assert result["tiles"] == {"written": len(index), "reused": 0, "failed": 0}
    assert result["leaks"] == 0
    with rasterio.open(image) as source:
        truth = source.read()
    seen = np.zeros((300, 300), int)
    hall = np.zeros((300, 300), bool)
    for x, y, side, klass in HALLS:
        hall[y : y + side, x : x + side] |= klass == "data_center"
    for _, row in index.iterrows():
        optical, valid, mask = tileset.read_tile(tmp_path / "out", row)
        window = (slice(row["row_px"], row["row_px"] + 128), slice(row["col_px"], row["col_px"] + 128))
        assert (optical[:, valid] == truth[:, *window][:, valid]).all()
        assert ((mask[0] == 2)[valid] == hall[window][valid]).all()
        assert (mask[0][~valid] == 255).all()
        assert (mask[1] == 255).all(), "no file draws cooling equipment: nothing is known of it"
        assert set(np.unique(mask[2][mask[0] == 2])) - {0} == set(np.unique(mask[2][mask[0] == 2]))
        counts = [row["background_px"], row["other_building_px"], row["data_center_px"], row["unknown_px"]]
        assert sum(counts) == row["valid_px"] == valid.sum()
        assert row["licence"] == "CC0-1.0"
        assert row["label_source"] == "labels.geojson"
        seen[window] += valid
        with rasterio.open(tmp_path / "out" / row["path"]) as tile:
            assert tile.crs == UTM_26N
            assert tile.transform == Affine(2, 0, WEST_M + 2 * row["col_px"], 0, -2, NORTH_M - 2 * row["row_px"])
            assert tile.descriptions == tileset.PICTURE_BANDS
    assert seen[hall].min() >= 1, "no labelled data center is lost to the guard"


def test_every_picture_of_every_split_is_read_back(tmp_path, district):
    _, index = cut([district[0]], [district[1]], tmp_path)
    for split, rows in index.groupby("split"):
        pictures = tileset.pictures_of(tmp_path, split)
        assert len(pictures) == len(rows)
        assert sum(p.weight for p in pictures) == pytest.approx(1)


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*.*")) if p.name != ".lock"}


def test_order_workers_and_stops_leave_no_trace(tmp_path, district):
    image, file = district
    other = write_image(
        tmp_path / "east.tif", np.random.default_rng(9).integers(1, 255, (3, 200, 300), dtype=np.uint8),
        transform=Affine(2, 0, WEST_M + 5000, 0, -2, NORTH_M),
    )  # fmt: skip
    east = labels(tmp_path / "east.geojson", HALLS[:4], WEST_M + 5000)
    first, _ = cut([image, other], [file, east], tmp_path / "a")
    cut([other, image, image], [east, file], tmp_path / "b", TileSettings(**{**SMALL.__dict__, "workers": 2}))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")

    def stop(done, failed, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut([image, other], [file, east], tmp_path / "c", progress=tiles.Progress(tick=stop))
    assert not (tmp_path / "c" / tileset.INDEX_NAME).exists()
    (tmp_path / "c" / "pictures" / "notes.txt").write_text("mine")
    again, _ = cut([image, other], [file, east], tmp_path / "c")
    assert again["tiles"]["reused"] > 0
    assert sum(again["tiles"].values()) == first["tiles"]["written"]
    (tmp_path / "c" / "pictures" / "notes.txt").unlink()
    assert files_of(tmp_path / "a") == files_of(tmp_path / "c")


def test_a_damaged_tile_is_cut_again_and_one_of_another_cut_is_removed(tmp_path, district):
    image, file = district
    cut([image], [file], tmp_path)
    whole = files_of(tmp_path)
    victim = sorted((tmp_path / "pictures").glob("*.tif"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    (tmp_path / "masks" / f"{'0' * 24}.tif").write_bytes(b"of an earlier cut")
    result, _ = cut([image], [file], tmp_path)
    assert result["tiles"]["written"] == 1
    assert files_of(tmp_path) == whole


HALL = st.tuples(
    st.integers(0, 280), st.integers(0, 280), st.integers(4, 40), st.sampled_from(["data_center", "unknown"])
)


@given(st.lists(HALL, min_size=1, max_size=9), st.floats(0, 150), st.integers(0, 9), st.sampled_from([0, 40]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_layout_of_buildings_leaks(tmp_path_factory, district, halls, guard_m, seed, overlap):
    folder = tmp_path_factory.mktemp("layout")
    halls = [*halls, (130, 130, 20, "other_building")]
    s = TileSettings(size_px=128, overlap_px=overlap, guard_m=guard_m, seed=seed, licence="x")
    _, index = cut([district[0]], [labels(folder / "l.geojson", halls)], folder / "out", s)
    assert leaks(index, guard_m) == []
    assert tileset.check([folder / "out"]) == []
    shown = sum(((tileset.read_tile(folder / "out", row)[2][0] == 1).any()) for _, row in index.iterrows())
    assert shown or any(shapely.box(*_px(h)).covers(shapely.box(130, 130, 150, 150)) for h in halls[:-1])


def _px(hall):
    x, y, side, _ = hall
    return x, y, x + side, y + side


@pytest.mark.parametrize("column", ["county", "site"])
def test_a_column_splits_by_its_values_but_never_a_campus(tmp_path, district, column):
    image, _ = district
    # the first campus lies on the border: two halls, one in each county; the shed decides with its county's label
    county = ["A", "B", "B", "B", "A", "A", "B", "B", "A"]
    file = labels(tmp_path / "l.geojson", **{column: county})
    s = TileSettings(**{**SMALL.__dict__, "split_by": column, "shares": (0.5, 0.0, 0.5)})
    _, index = cut([image], [file], tmp_path / "out", s)
    assert set(index["place"]) == {"A", "B"}
    assert index.groupby("place")["split"].nunique().max() == 1
    assert index.explode("sites").groupby("sites")["split"].nunique().max() == 1
    with pytest.raises(ConfigError, match=naming("--split-by", f"'{column}y'", f"'{column}'")):
        cut([image], [file], tmp_path / "no", TileSettings(**{**SMALL.__dict__, "split_by": f"{column}y"}))


def test_one_place_alone_is_said(tmp_path, district):
    file = labels(tmp_path / "l.geojson", HALLS[:2])
    result, index = cut([district[0]], [file], tmp_path / "out")
    assert index["split"].nunique() == 1
    assert any(names(w, 1, "40 m") for w in result["warnings"])


def photo(path, seed):
    Pillow.fromarray(np.random.default_rng(seed).integers(1, 255, (128, 256, 3), dtype=np.uint8)).save(path)
    return path


def coco(path, photos):
    data = {
        "images": [{"id": i, "file_name": p.name, "width": 256, "height": 128} for i, p in enumerate(photos)],
        "categories": [{"id": 1, "name": "data_center"}, {"id": 2, "name": "cooling_equipment"}],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "bbox": [20 + 9 * c, 30, 40 // c, 20]}
            for i in range(len(photos))
            for c in (1, 2)
        ],
    }
    path.write_text(json.dumps(data))
    return path


def test_photos_without_georeference_need_a_gsd_and_stay_whole(tmp_path):
    photos = [photo(tmp_path / f"{i}.png", i) for i in range(4)]
    file = coco(tmp_path / "coco.json", photos)
    with pytest.raises(GridError, match=naming("0.png", "--gsd")):
        cut(photos, [file], tmp_path / "out")
    s = TileSettings(size_px=128, gsd_m=0.5, shares=(0.5, 0.25, 0.25), licence="x")
    result, index = cut(photos, [file], tmp_path / "out", s)
    assert index.geometry.isna().all()
    assert set(index["crs"]) == {""}
    assert set(index["gsd_m"]) == {0.5}
    assert index.groupby("image_sha256")["split"].nunique().max() == 1
    assert sorted(index.groupby("split")["image"].nunique()) == [1, 1, 2]
    assert index["cooling_equipment_px"].sum() == 4 * 20 * 20  # a box of 20 x 20 in each
    assert not result["warnings"]


def test_the_same_photo_twice_in_two_files_is_refused_where_it_would_leak(tmp_path):
    photos = [photo(tmp_path / "a.png", 1)]
    Pillow.open(photos[0]).save(tmp_path / "b.png", compress_level=1)
    photos.append(tmp_path / "b.png")
    s = TileSettings(size_px=256, gsd_m=0.5, shares=(0.5, 0, 0.5), licence="x")
    with pytest.raises(ConfigError, match=naming("a.png", "b.png")):
        cut(photos, [coco(tmp_path / "coco.json", photos)], tmp_path / "out", s)


def test_images_without_labels_count_as_background_only_when_asked(tmp_path, district):
    image, file = district
    far = write_image(
        tmp_path / "far.tif", np.random.default_rng(9).integers(1, 255, (3, 130, 130), dtype=np.uint8),
        transform=Affine(2, 0, WEST_M + 9000, 0, -2, NORTH_M),
    )  # fmt: skip
    _, index = cut([image, far], [file], tmp_path / "a")
    assert "far.tif" not in set(index["image"])
    _, index = cut([image, far], [file], tmp_path / "b", TileSettings(**{**SMALL.__dict__, "empty": True}))
    rows = index[index["image"] == "far.tif"]
    assert (rows["background_px"] == rows["valid_px"]).all()
    assert rows["valid_px"].sum() >= 130 * 130
    assert leaks(index, 40.0) == []


def test_tiles_are_resampled_when_asked(tmp_path, district):
    s = TileSettings(**{**SMALL.__dict__, "tile_gsd_m": 4.0, "size_px": 150})
    _, index = cut([district[0]], [district[1]], tmp_path / "out", s)
    assert set(index["gsd_m"]) == {4.0}
    halls = [h for h in HALLS if h[3] == "data_center"]
    assert index["data_center_px"].sum() == pytest.approx(sum(h[2] ** 2 / 4 for h in halls), rel=0.05)
    with pytest.raises(ModelContractError, match=naming("district.tif", "0.01-0.87")):
        cut([district[0]], [district[1]], tmp_path / "no", TileSettings(**{**SMALL.__dict__, "tile_gsd_m": 0.6}))


def test_labels_of_elsewhere_and_bad_options_are_refused_before_anything_is_written(tmp_path, district):
    image, file = district
    far = labels(tmp_path / "far.geojson", west=WEST_M + 50_000)
    with pytest.raises(RegistryError, match=naming("far.geojson", 9, "district.tif")):
        cut([image], [file, far], tmp_path / "out")
    for change, words in [
        ({"size_px": 20}, ("--size-px", 20, 64, 4096)),
        ({"overlap_px": 128}, ("--overlap-px", 128, "--size-px")),
        ({"guard_m": -1.0}, ("--guard-m", "-1", 10000)),
        ({"shares": (0.0, 0.0, 0.0)}, ("--shares", "0,0,0")),
        ({"unlabelled": "backgroud"}, ("--unlabelled", "'backgroud'", "'background'")),
        ({"workers": 0}, ("--workers", 0)),
    ]:
        with pytest.raises(ConfigError, match=naming(*words)):
            cut([image], [file], tmp_path / "out", TileSettings(**{**SMALL.__dict__, **change}))
    assert not (tmp_path / "out").exists()


def test_only_unknown_labels_are_nothing_to_learn_from(tmp_path, district):
    file = labels(tmp_path / "l.geojson", [(30, 30, 24, "unknown")])
    with pytest.raises(ConfigError, match="tile"):
        cut([district[0]], [file], tmp_path / "out")


def command(*arguments):
    """The command in this process: exit status, standard output, error."""
    done = CliRunner().invoke(main.app, ["tiles", *map(str, arguments)])
    return done.exit_code, done.stdout, done.exception


def test_the_command_cuts_checks_and_reports_a_failed_tile(tmp_path, district):
    image, file = district
    out = tmp_path / "tiles"
    arguments = ("--labels", file, "--out", out, "--size-px", 128, "--licence", "CC0-1.0", "--json")
    status, text, _ = command(image, *arguments)
    assert (status, json.loads(text.splitlines()[-1])["leaks"]) == (0, 0)
    status, text, _ = command("--check", out, "--json")
    assert (status, json.loads(text.splitlines()[-1])["leaks"]) == (0, 0)
    # a leak planted into the index: one tile changes sides
    index = tileset.read_index(out)
    crowded = index["place"].value_counts().idxmax()
    row = index.index[index["place"] == crowded][0]
    index.loc[row, "split"] = "val" if index.loc[row, "split"] != "val" else "test"
    index.to_parquet(out / tileset.INDEX_NAME, write_covering_bbox=True, schema_version="1.1.0")
    status, text, _ = command("--check", out)
    assert status == 1
    assert f"place {crowded}" in text
    broken = tmp_path / "broken.tif"
    broken.write_bytes(image.read_bytes())
    corrupt_block(broken, 1, 1)
    status, text, _ = command(broken, *arguments)
    assert status == 3
    assert names(json.loads(text.splitlines()[-1])["failures"][0], "broken.tif", "rows", "columns")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "x"), ("image",)),
        (("a.tif",), ("--out",)),
        (("--check", "nowhere"), ("nowhere",)),
        (("--dispositions", "x", "--out", "y"), ("--dispositions", "--run")),
        (("--run", "x", "--out", "y"), ("run folder", "sites.parquet")),
        (("a.tif", "--out", "x", "--shares", "1,1"), ("--shares", "'1,1'")),
    ],
)
def test_the_command_names_what_is_missing(arguments, words):
    status, _, error = command(*arguments)
    assert status != 0
    assert isinstance(error, OverwattError)
    assert names(str(error), *words), error


@pytest.mark.realdata
def test_a_real_district_gives_three_splits_that_do_not_leak(tmp_path, realdata):
    outlines = Path(__file__).resolve().parents[2] / "models" / "labels" / "ashburn.geojson"
    s = TileSettings(size_px=256, licence="imagery: NAIP, US public domain")
    result, _ = cut([realdata / "ashburn" / "naip_rgb_2m.tif"], [outlines], tmp_path, s)
    assert all(split["data_centers"] >= 2 for split in result["splits"].values())
    assert tileset.check([tmp_path]) == []

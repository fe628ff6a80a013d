"""Findings become tiles: hard negatives first, the later finding counts, what nobody could judge is unknown."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.models.training import tileset
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER
from overwatt.workflows.io.dispositions import FINDINGS, latest, read_dispositions
from overwatt.workflows.io.raster_checks import content_sha256
from overwatt.workflows.tiles.from_dispositions import cut_dispositions
from overwatt.workflows.tiles.splits import TileSettings
from tests.support import NORTH_M, UTM_26N, WEST_M, names, naming, random_ring, write_image

# column, row, side in pixels of 2 m, and what the run thought of the site
SITES = {"S1": (20, 20, 24, 0.6), "S2": (120, 20, 24, 0.9), "S3": (220, 20, 24, 0.7), "S4": (20, 220, 24, 0.8)}
MISSED = (220, 220, 20)
SETTINGS = TileSettings(size_px=64, shares=(1.0, 0.0, 0.0), licence="CC0-1.0")


def outline(x, y, side):
    box = shapely.box(WEST_M + 2 * x, NORTH_M - 2 * (y + side), WEST_M + 2 * (x + side), NORTH_M - 2 * y)
    return gpd.GeoSeries([box], crs=UTM_26N).to_crs(4326).iloc[0]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What a run leaves behind, as far as dispositions need it: tables, manifest, and the image it looked at."""
    folder = tmp_path_factory.mktemp("run")
    pixels = np.random.default_rng(8).integers(1, 255, (3, 300, 300), dtype=np.uint8)
    image = write_image(folder / "image.tif", pixels)
    shapes = [outline(*s[:3]) for s in SITES.values()]
    p = [s[3] for s in SITES.values()]
    gpd.GeoDataFrame({"site_id": list(SITES), "p_data_center": p}, geometry=shapes, crs=4326).to_parquet(
        folder / "sites.parquet"
    )
    gpd.GeoDataFrame({"class": ["data_center"] * 4}, geometry=shapes, crs=4326).to_parquet(
        folder / "footprints.parquet"
    )
    manifest = {"parameters": {"imagery": {"path": str(image)}}, "inputs": {"imagery": content_sha256(image)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def row(i, site, finding, time="2026-05-01", outline_=None):
    return {
        "disposition_id": f"d{i}", "site_id": site, "inspector": "Jane Doe", "time": time, "finding": finding,
        "measured_mw": None, "chips": None, "outline": outline_, "note": "",
    }  # fmt: skip


ROWS = [
    row(1, "S1", "not DC"),
    row(2, "S2", "AI"),
    row(3, "S3", "non-AI DC"),
    row(4, "S4", "refused"),
    row(5, None, "AI", outline_=outline(*MISSED).wkt),
    row(6, "S2", "not a data centre", "2026-05-02T09:00:00+02:00"),
]


def table(path, rows):
    frame = pd.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
        return path
    shapes = [None if pd.isna(t) else shapely.from_wkt(t) for t in frame.pop("outline")]
    placed = gpd.GeoDataFrame(frame, geometry=shapes, crs=4326)
    if path.suffix == ".parquet":
        placed.to_parquet(path)
    else:
        placed.to_file(path, driver="GeoJSON")
    return path


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "d.geojson"])
def test_hard_negatives_come_first_then_confirmed_then_missed(tmp_path, run_folder, name):
    out = tmp_path / "out"
    result = cut_dispositions(run_folder, table(tmp_path / name, ROWS), out, SETTINGS)
    index = tileset.read_index(out).sort_values("rank")
    assert index["disposition_id"].tolist() == ["d6", "d1", "d3", "d5"]
    assert index["kind"].tolist() == ["hard_negative", "hard_negative", "confirmed", "missed"]
    assert index["p_data_center"].tolist()[:3] == [0.9, 0.6, 0.7]
    assert index["finding"].tolist() == ["not_dc", "not_dc", "non_ai_dc", "ai"]
    assert set(index["split"]) == {"train"}
    assert set(index["run"]) == {content_sha256(run_folder / "manifest.json")}
    d = result["dispositions"]
    assert (d["read"], d["superseded"], d["ignored"]) == (6, 1, 1)
    assert any(names(w, 1, "refused") for w in result["warnings"])
    assert "Jane" not in gpd.read_parquet(out / tileset.INDEX_NAME).to_csv()
    pictures = tileset.pictures_of(out, "train")
    for picture, code, ring in zip(
        pictures, (NOT_CENTER, NOT_CENTER, DATA_CENTER, DATA_CENTER), (0, 0, 0, 1), strict=True
    ):
        side = 20 if ring else 24
        assert (picture.building == code).sum() == pytest.approx(side**2, abs=side)
        assert ((picture.building == 0).sum() > 0) == ring, "background only beside an outline drawn by hand"
        assert set(np.unique(picture.building)) <= {0, code, IGNORE}
        assert (picture.cooling == IGNORE).all()


def test_an_outline_replaces_the_footprints_of_a_run(tmp_path, run_folder):
    drawn = outline(24, 24, 10).wkt
    cut_dispositions(
        run_folder, table(tmp_path / "d.csv", [row(1, "S1", "AI", outline_=drawn)]), tmp_path / "o", SETTINGS
    )
    (picture,) = tileset.pictures_of(tmp_path / "o", "train")
    assert (picture.building == DATA_CENTER).sum() == pytest.approx(100, abs=10)


def test_a_site_larger_than_a_tile_takes_several(tmp_path, run_folder):
    drawn = outline(100, 100, 100).wkt
    cut_dispositions(
        run_folder, table(tmp_path / "d.csv", [row(1, None, "AI", outline_=drawn)]), tmp_path / "o", SETTINGS
    )
    index = tileset.read_index(tmp_path / "o")
    assert len(index) == 4
    assert index["data_center_px"].sum() == pytest.approx(100**2, rel=0.02)
    assert set(index["rank"]) == {1}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1, "S1", "AI?!")] * 2, ("'d1'", "twice")),
        ([row(1, "S1", "demolished")], ("'d1'", "'demolished'", "not_dc", "refused")),
        ([row(1, "S1", "AI", "last week")], ("'d1'", "'last week'", "ISO 8601")),
        ([row(1, "S1", "AI", "2999-01-01")], ("'d1'", "2999", "future")),
        ([row(1, "S1", "AI", "1950-01-01")], ("'d1'", "1950", "imagery")),
        ([row(1, "S1", "AI") | {"measured_mw": 1e9}], ("'d1'", "1e+09", "100,000")),
        ([row(1, "S1", "AI") | {"measured_mw": -1}], ("'d1'", "measured_mw", -1, "negative")),
        ([row(1, "S1", "AI") | {"chips": 0.5}], ("'d1'", "chips", 0.5, "whole")),
        ([row(1, None, "AI")], ("'d1'", "site_id", "outline")),
        ([row(1, "S1", "AI", outline_="POINT (1 2)")], ("'d1'", "outline", "Point", "polygon")),
        ([row(1, "S1", "AI", outline_="POLYGON ((")], ("'outline'", "WKT")),
        ([row(1, "S1", "AI", outline_=random_ring(1500).wkt)], ("'d1'", "outline", "crosses itself")),
        ([row(1, "S1", "AI", outline_="POLYGON ((0 0, 900 0, 900 900, 0 0))")], ("'d1'", "outline", "degrees")),
        ([{"site_id": "S1"}], ("'disposition_id'", "'site_id'")),
    ],
)
def test_a_broken_row_is_named(tmp_path, run_folder, rows, words):
    with pytest.raises(RegistryError, match=naming("d.csv", *words)):
        cut_dispositions(run_folder, table(tmp_path / "d.csv", rows), tmp_path / "o", SETTINGS)
    assert not (tmp_path / "o").exists()


def test_without_a_table_the_run_must_have_its_own(tmp_path, run_folder):
    with pytest.raises(ConfigError, match=naming("--run", "overwatt record", "--dispositions")):
        cut_dispositions(run_folder, None, tmp_path / "o", SETTINGS)


def test_findings_on_sites_that_are_gone_do_not_stop_the_others(tmp_path, run_folder):
    rows = [row(1, "S9", "AI"), row(2, "S2", "AI")]
    result = cut_dispositions(run_folder, table(tmp_path / "d.csv", rows), tmp_path / "o", SETTINGS)
    assert (result["dispositions"]["gone"], result["tiles"]["written"]) == (1, 1)
    assert any(names(w, 1, "d1", "does not have") for w in result["warnings"])
    with pytest.raises(ConfigError, match=naming("d.csv", 1, "d1", "does not have")):
        cut_dispositions(run_folder, table(tmp_path / "d.csv", rows[:1]), tmp_path / "none", SETTINGS)


def test_only_refusals_are_nothing_to_learn_from(tmp_path, run_folder):
    with pytest.raises(ConfigError, match=naming("d.csv", 1, "refused")):
        cut_dispositions(run_folder, table(tmp_path / "d.csv", [row(1, "S1", "Refused")]), tmp_path / "o", SETTINGS)


def test_the_run_must_be_one_and_its_image_unchanged(tmp_path, run_folder):
    file = table(tmp_path / "d.csv", ROWS)
    with pytest.raises(RegistryError, match=naming("run folder", "sites.parquet")):
        cut_dispositions(tmp_path, file, tmp_path / "o", SETTINGS)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("sites.parquet", "footprints.parquet"):
        (copy / name).write_bytes((run_folder / name).read_bytes())
    manifest = json.loads((run_folder / "manifest.json").read_text())
    for change, word in [
        ({"inputs": {"imagery": "0"}}, run_folder / "image.tif"),
        ({"parameters": {"imagery": {"path": None}}}, "catalogue"),
        ({"parameters": {"imagery": {"path": "/no/where.tif"}}}, "/no/where.tif"),
        ({"parameters": []}, "manifest.json"),
    ]:
        (copy / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises((ConfigError, RegistryError), match=naming("run folder", word)):
            cut_dispositions(copy, file, tmp_path / "o", SETTINGS)
    result = cut_dispositions(copy, file, tmp_path / "o", SETTINGS, images=[run_folder / "image.tif"])
    assert result["tiles"]["written"] == 4


def test_findings_outside_of_the_imagery_are_said(tmp_path, run_folder):
    small = write_image(
        tmp_path / "part.tif", np.full((3, 150, 150), 90, np.uint8), transform=Affine(2, 0, WEST_M, 0, -2, NORTH_M)
    )
    result = cut_dispositions(run_folder, table(tmp_path / "d.csv", ROWS), tmp_path / "o", SETTINGS, images=[small])
    assert any(names(w, 2, "d3, d5") for w in result["warnings"])
    assert result["dispositions"]["kinds"] == {"hard_negative": 2, "confirmed": 0, "missed": 0, "empty_cell": 0}


DAY = st.integers(1, 28)
FINDING = st.sampled_from(sorted(FINDINGS))


@given(st.lists(st.tuples(st.sampled_from(["S1", "S2", "S3"]), FINDING, DAY), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_appending_decides_and_nothing_else_is_forgotten(tmp_path_factory, findings):
    path = tmp_path_factory.mktemp("d") / "d.csv"
    rows = [row(i, site, finding, f"2026-05-{day:02d}") for i, (site, finding, day) in enumerate(findings)]
    judged = latest(read_dispositions(table(path, rows)))
    assert sorted(judged["site_id"]) == sorted({site for site, _, _ in findings})
    for d in judged.to_dict("records"):
        own = [(day, i, finding) for i, (site, finding, day) in enumerate(findings) if site == d["site_id"]]
        assert d["finding"] == max(own)[2]
    # a row appended later overrides; one appended with an earlier time does not
    late = latest(read_dispositions(table(path, [*rows, row(99, "S1", "refused", "2026-06-01")])))
    assert late.set_index("site_id")["finding"]["S1"] == "refused"
    early = latest(read_dispositions(table(path, [*rows, row(99, findings[0][0], "refused", "2020-01-01")])))
    assert "d99" not in set(early["disposition_id"])

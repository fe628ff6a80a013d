"""The loop closes: a plan and a list go out, findings come back in any format, and become labels."""

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from overwatt.models.training import tileset
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER
from overwatt.workflows.assess import record
from overwatt.workflows.export import inspection_list
from overwatt.workflows.export import table as export_table
from overwatt.workflows.io.dispositions import RECORDED, read_own
from overwatt.workflows.tiles import command
from tests.integration.returned_lists import (
    CELLS,
    DRAWN,
    FILLED,
    FORMATS,
    WITH_OUTLINES,
    make_run,
    outline,
    returned,
)
from tests.support import names

NOT_COMPARED = ["source", "geometry"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    run, file = returned(source, tmp_path_factory.mktemp("expected"), "geojson")
    record.run(run, [file])
    return gpd.read_parquet(run / RECORDED)


def cut(run, out, dispositions=None):
    def quiet(*_):
        pass

    return command.run(
        [], [], out, command.Options(size_px=64), run_folder=run, dispositions=dispositions, check=[], class_map=[],
        say=quiet, tick=quiet,
    )  # fmt: skip


@pytest.mark.parametrize("how", FORMATS)
def test_any_format_gives_the_same_findings(source, tmp_path, expected, how):
    run, file = returned(source, tmp_path, how)
    result = record.run(run, [file])
    assert (result["recorded"], result["already_there"]) == (4, 0)
    assert result["blank"] == 1
    assert result["findings"] == {"ai": 1, "non_ai_dc": 1, "not_dc": 2}
    table = gpd.read_parquet(result["file"])
    by_id = [t.drop(columns=NOT_COMPARED).sort_values("disposition_id", ignore_index=True) for t in (table, expected)]
    pd.testing.assert_frame_equal(*by_id)
    assert table.geometry.isna().all(), "an outline as exported is not the inspector's"
    row = table.set_index("entry_id").loc["E-S2"]
    assert (row["measured_mw"], row["chips"], row["time"]) == (12.5, 1000, "2025-05-04T10:30:00Z")
    assert (row["site_id"], row["entry_class"]) == ("S2", "undeclared")
    notes = table.set_index("entry_id")["note"]
    assert notes["E-S1"] == FILLED["E-S1"]["note"]
    cell = table.set_index("entry_id").loc["cell r1c0"]
    assert (cell["entry_class"], pd.isna(cell["site_id"])) == ("nothing found", True)


@pytest.mark.parametrize("how", FORMATS)
def test_recording_again_adds_nothing(source, tmp_path, how):
    run, file = returned(source, tmp_path, how)
    record.run(run, [file])
    before = (run / RECORDED).read_bytes()
    again = record.run(run, [file])
    assert (again["recorded"], again["already_there"]) == (0, 4)
    assert (run / RECORDED).read_bytes() == before


def test_a_list_in_two_formats_counts_once(source, tmp_path):
    run, kml = returned(source, tmp_path, "kml", outlines={"E-D1": outline(*DRAWN)})
    sheet = returned(source, tmp_path / "other", "xlsx")[1]
    assert record.run(run, [kml, sheet])["recorded"] == 4
    assert record.run(run, [sheet])["already_there"] == 4
    assert read_own(run).geometry.notna().sum() == 1


@pytest.mark.parametrize("how", WITH_OUTLINES)
def test_the_loop_closes(source, tmp_path, how):
    drawn = outline(*DRAWN)
    run, file = returned(source, tmp_path, how, outlines={"E-D1": drawn})
    result = record.run(run, [file])
    assert (result["recorded"], result["outlines"], result["notes"]) == (4, ["E-D1"], [])
    table = gpd.read_parquet(result["file"]).set_index("entry_id")
    assert table.geometry.notna().sum() == 1
    assert shapely.hausdorff_distance(table.geometry["E-D1"], drawn) < 1e-6
    tiles = cut(run, tmp_path / "tiles")
    assert tiles["dispositions"]["kinds"] == {"hard_negative": 1, "confirmed": 1, "missed": 1, "empty_cell": 1}
    index = tileset.read_index(tmp_path / "tiles").sort_values("rank")
    assert index["kind"].drop_duplicates().tolist() == ["hard_negative", "confirmed", "missed", "empty_cell"]
    pictures = tileset.pictures_of(tmp_path / "tiles", "train")
    cell = [p.building for p, kind in zip(pictures, index["kind"], strict=True) if kind == "empty_cell"]
    assert set().union(*map(set, (b.ravel().tolist() for b in cell))) <= {NOT_CENTER, IGNORE}
    assert sum((b == NOT_CENTER).sum() for b in cell) == pytest.approx(CELLS["r1c0"][2] ** 2, rel=0.02)
    missed = next(p.building for p, kind in zip(pictures, index["kind"], strict=True) if kind == "missed")
    assert (missed == DATA_CENTER).sum() == pytest.approx(DRAWN[2] ** 2, rel=0.05)
    listed = export_table.listing(export_table.read(run)).set_index("entry_id")["last_finding"]
    assert {k: v["finding"] for k, v in FILLED.items()} == listed.dropna().to_dict()


def test_a_finding_without_an_outline_gives_no_label_where_the_run_saw_no_site(source, tmp_path):
    run, file = returned(source, tmp_path, "xlsx")
    record.run(run, [file])
    tiles = cut(run, tmp_path / "tiles")
    assert tiles["dispositions"]["kinds"]["missed"] == 0
    assert tiles["dispositions"]["without_outline"] == 1
    assert any(names(w, 1, "outline") for w in tiles["warnings"])


def test_a_table_of_ones_own_is_read_as_well(source, tmp_path):
    run, file = returned(source, tmp_path, "csv", {"E-S1": FILLED["E-S1"]})
    own = "disposition_id,site_id,finding,time\nmine,S2,ai,2025-03-04\n"
    (run / "dispositions.csv").write_text(own)
    record.run(run, [file])
    assert (run / "dispositions.csv").read_text() == own
    assert set(read_own(run)["site_id"]) == {"S1", "S2"}
    assert cut(run, tmp_path / "tiles")["dispositions"]["read"] == 2
    assert cut(run, tmp_path / "others", run / "dispositions.csv")["dispositions"]["read"] == 1
    assert inspection_list.run(run)["warnings"] == []

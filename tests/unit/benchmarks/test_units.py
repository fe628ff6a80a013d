"""The benchmark of machines: what counts as found, as false and as the right kind."""

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from benchmarks import units
from overwatt.pipeline.tables import conform

ROWS = [
    {"file": "roof.png", "x0": "10", "y0": "10", "x1": "20", "y1": "20", "class": "tower", "gsd_m": "0.5"},
    {"file": "roof.png", "x0": "40", "y0": "40", "x1": "50", "y1": "50", "class": "chiller", "gsd_m": "0.5"},
    {"file": "roof.png", "x0": "70", "y0": "70", "x1": "80", "y1": "80", "class": "unknown", "gsd_m": "0.5"},
]


def outlined(kind):
    """Table `footprints`: a machine on the first box, one on no box, and a building."""
    boxes = [shapely.box(10, 10, 20, 16), shapely.box(90, 10, 95, 15), shapely.box(0, 0, 100, 100)]
    return conform(
        pd.DataFrame({
            "object_id": ["c1_1", "c2_2", "o0_0"], "class": ["cooling_equipment"] * 2 + ["other_building"],
            "kind": [kind, kind, None], "score": 0.9, "epistemic": 0.0, "area_m2": 10.0,
            "units": pd.array([2, None, None], "Int64"), "on_border": False, "used_thermal": False, "tile": "t",
            "scenes": "s", "geometry": boxes,
        }),
        "footprints",
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "right"), [("tower", 1), ("chiller", 0), (None, 0)])
def test_a_box_is_found_by_cover_and_an_outline_on_no_box_is_false(kind, right, tmp_path, monkeypatch):
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / "roof.png")
    monkeypatch.setattr(units, "footprints_on", lambda *_: outlined(kind))
    by_kind = {k: {"boxed": 0, "found": 0, "kind_right": 0} for k in (*units.MACHINE_KINDS, "unknown")}
    by_m2 = {k: {"boxed": 0, "found": 0} for k in units.SIZES_M2}
    counts = units._photograph(None, tmp_path / "roof.png", ROWS, by_kind, by_m2)
    assert counts == {"boxed": 3, "found": 1, "false": 1, "counted": 2}
    assert by_kind["tower"] == {"boxed": 1, "found": 1, "kind_right": right}
    assert by_kind["chiller"] == {"boxed": 1, "found": 0, "kind_right": 0}
    # boxes of 10 x 10 pixels of 0.5 m have 25 m2
    assert by_m2 == {"30 and more": {"boxed": 0, "found": 0}, "10-30": {"boxed": 3, "found": 1},
                     "below 10": {"boxed": 0, "found": 0}}  # fmt: skip


@pytest.mark.parametrize("kind", ["chiller", None])
def test_kinds_of_simulated_machines_also_for_weights_that_tell_none(kind, monkeypatch):
    monkeypatch.setattr(
        units, "footprints_on", lambda *_: outlined(kind).assign(geometry=[shapely.box(0, 0, 512, 512)] * 3)
    )
    found = units.kinds(None, 2)
    assert set(found) == set(units.MACHINE_KINDS)
    seen = {k: v for k, v in found.items() if v["m2"]}
    assert seen
    # everything is outlined, as the one kind or as none
    assert all(v["outlined"] == 1 and v["kind_right"] == float(k == kind) for k, v in seen.items())

"""The run folder: whole files or none, keys, locks, and what a spreadsheet makes of a cell."""

import hashlib
import json
import os
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.tables import conform, empty
from overwatt.workflows.io import run_folder
from tests.support import ROOT, naming


def cells(n, seed=0):
    """Table `looked_at` of n cells, one of them without a geometry."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "cell": f"c{i}",
            "imaged": 1.0,
            "clear_looks": 1,
            "screened": True,
            "failed": False,
            "reason": "=1+1",
            "geometry": shapely.box(x, y, x + 0.1, y + 0.1) if i else shapely.Polygon(),
        }
        for i, (x, y) in enumerate(rng.uniform(-80, 80, (n, 2)))
    ]
    return conform(rows, "looked_at")


def test_a_file_comes_whole_or_not_at_all(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    run_folder.write_text(path, "old")

    def stopped():
        with run_folder.written(path) as part:
            part.write_text("new, ha")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_part_comes_back_as_it_was(tmp_path):
    arrays = {"p": np.arange(12, dtype=np.uint8).reshape(3, 4), "none": np.zeros(0, bool), "n": np.array([2**40])}
    run_folder.save_part(tmp_path / "a.npz", arrays)
    back = run_folder.load_part(tmp_path / "a.npz")
    assert back is not None
    assert list(back) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype == values.dtype


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_part_is_none(tmp_path, share):
    path = tmp_path / "a.npz"
    run_folder.save_part(path, {"p": np.random.default_rng(0).integers(0, 255, 5000, dtype=np.uint8)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert run_folder.load_part(path) is None


def test_a_flipped_byte_in_a_part_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    run_folder.save_part(path, {"p": np.random.default_rng(0).integers(0, 255, 5000, dtype=np.uint8)})
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    assert run_folder.load_part(path) is None


def test_a_part_with_a_pickle_in_it_is_not_opened(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, p=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert run_folder.load_part(path) is None


def test_a_missing_part_is_none(tmp_path):
    assert run_folder.load_part(tmp_path / "a.npz") is None


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_keys_differ_when_their_parts_do(one, two):
    assert (run_folder.key(*one) == run_folder.key(*two)) == (one == two)


def test_a_locked_folder_is_refused_and_free_again_after(tmp_path):
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom overwatt.workflows.io.run_folder import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "run")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=naming(tmp_path / "run", "wait", "another folder")),
            run_folder.locked(tmp_path / "run"),
        ):
            pass
        other.kill()
        other.wait()
    with run_folder.locked(tmp_path / "run"):
        pass


def test_a_new_folder_in_which_nothing_came_about_is_removed(tmp_path):
    with pytest.raises(RuntimeError), run_folder.locked(tmp_path / "run"):
        raise RuntimeError
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), run_folder.locked(tmp_path / "mine"):
        raise RuntimeError
    assert (tmp_path / "mine").is_dir()


def test_what_a_kill_left_is_removed_and_files_of_others_stay(tmp_path):
    (tmp_path / "parts").mkdir()
    left = [".sites.parquet.17.part", ".overwatt.gpkg.17.part.gpkg", "parts/.r000c000-ab.npz.17.part"]
    kept = [".env.local", ".gitignore", "notes.part", "parts/r000c000-ab.npz", ".profile.part"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("x")
    with run_folder.locked(tmp_path):
        assert [n for n in left if (tmp_path / n).exists()] == []
        assert [n for n in kept if not (tmp_path / n).exists()] == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0"])
def test_formulas_are_defused(text):
    frame = pd.DataFrame({"a": pd.Series([text, "fine", None], dtype="string"), "b": [-1.5, 2, 3]})
    out = run_folder.defuse(frame)
    assert out["a"].tolist()[:2] == ["'" + text, "fine"]
    assert out["a"].isna().tolist() == [False, False, True]
    assert out["b"].tolist() == [-1.5, 2, 3]
    assert frame["a"][0] == text


@settings(max_examples=40)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_text_is_a_formula_afterwards_and_none_is_lost(texts):
    out = run_folder.defuse(pd.DataFrame({"a": pd.Series(texts, dtype="object")}))["a"]
    for before, after in zip(texts, out, strict=True):
        assert not after.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert after in (before, "'" + before)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_folder.write_table(tmp_path / name, "looked_at", cells(20))
        run_folder.write_table(tmp_path / name, "thermal", empty("thermal"))
    for file in ("looked_at.parquet", "looked_at.csv", "thermal.parquet", "thermal.csv"):
        one, two = (hashlib.sha256((tmp_path / n / file).read_bytes()).hexdigest() for n in ("one", "two"))
        assert one == two


def test_a_table_comes_back_as_it_was(tmp_path):
    frame = cells(5)
    run_folder.write_table(tmp_path, "looked_at", frame)
    back = gpd.read_parquet(tmp_path / "looked_at.parquet")
    assert conform(back[frame.columns], "looked_at").equals(frame)
    flat = pd.read_csv(tmp_path / "looked_at.csv")
    assert flat["reason"].tolist() == ["'=1+1"] * 5
    assert flat["lon"].isna().tolist() == [True] + [False] * 4
    assert flat["lat"].iloc[2] == pytest.approx(frame.geometry.iloc[2].centroid.y, abs=1e-6)


def test_without_a_crs_the_csv_says_pixels(tmp_path):
    frame = cells(3).set_crs(None, allow_override=True)
    run_folder.write_table(tmp_path, "footprints", frame)
    columns = pd.read_csv(tmp_path / "footprints.csv").columns
    assert {"x_px", "y_px"} <= set(columns)
    assert not {"lon", "lat"} & set(columns)


def test_hilbert_order_does_not_depend_on_the_order_before():
    frame = cells(30).iloc[1:].reset_index(drop=True)
    shuffled = frame.sample(frac=1, random_state=3)
    assert run_folder.hilbert_sorted(frame)["cell"].tolist() == run_folder.hilbert_sorted(shuffled)["cell"].tolist()
    assert sorted(run_folder.hilbert_sorted(frame)["cell"]) == sorted(frame["cell"])


def test_the_geopackage_holds_empty_layers_too(tmp_path):
    path = tmp_path / "a.gpkg"
    run_folder.write_geopackage(path, {"looked_at": cells(3), "sites": empty("sites")})
    assert sorted(pyogrio.list_layers(path)[:, 0]) == ["looked_at", "sites"]
    assert len(gpd.read_file(path, layer="looked_at")) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.gpkg"]
    run_folder.write_geopackage(path, {"sites": empty("sites")})
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["sites"]


def test_json_is_readable(tmp_path):
    run_folder.write_json(tmp_path / "a.json", {"a": [1, None], "b": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None], "b": str(tmp_path)}


@given(st.text(max_size=12).filter(lambda text: not text.startswith("'")))
def test_an_apostrophe_against_formulas_is_taken_off_again(text):
    safe = run_folder.defuse(pd.DataFrame({"cell": pd.array([text], dtype="string")}))["cell"][0]
    assert run_folder.undefused(safe) == text

"""The table of speed and memory says what the benchmarks gave."""

import pytest

from benchmarks import bench

STREAMING = {
    "peak_mb": 301.2, "peak_mb_40k": 310.0, "efficiency": 1.094, "computed_over_kept": 1.266,
    "ours": {"seconds": 40.0, "peak_mb": 700},
    "rivals": {
        "torchgeo": {"missing": "torchgeo is not installed"},
        "geoai": {"seconds": 80.0, "peak_mb": 1400, "speed_ratio": 2.0, "memory_ratio": 2.0},
    },
}  # fmt: skip
SPEED = {k: {"ours_mpx_s": 0.5, "rival_mpx_s": 0.25, "ratio": 2.0} for k in ("one_thread", "all_cores", "predict_path")}
STARTUP = {
    "help_cpu_s": 0.5, "estimate_cpu_s": 2.0, "first_tile_s": 6.0,
    "rivals_cpu_s": {"typer": 0.25, "geopandas": 1.0, "torch": 3.0},
}  # fmt: skip


def test_the_table_has_a_row_for_each_figure_and_says_what_is_missing(tmp_path, monkeypatch):
    results = {"streaming": STREAMING, "detector_speed": SPEED, "startup": STARTUP}
    monkeypatch.setattr(bench, "run", lambda name, quick: results[name])
    out = tmp_path / "table.md"
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(out), "--quick"])
    bench.main()
    text = out.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.count("|") == 6 for line in rows)
    assert "| whole path, time | 40.0 s | 80.0 s | geoai | 2.00 |" in rows
    assert "| start of `overwatt --help`, processor time | 0.5 s | 0.25 s | import typer | 0.50 |" in rows
    assert "torchgeo is not installed" in text
    assert "not a measure" in text
    assert "SIMULATED" in text


def test_an_unknown_benchmark_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "--only", "streeming"])
    with pytest.raises(Exception, match="streaming"):
        bench.main()

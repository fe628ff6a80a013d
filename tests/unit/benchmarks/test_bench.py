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
NETWORKS = {"ours_mpx_s": 0.5, "rival_mpx_s": 0.25, "ratio": 2.0}
SPEED = {"ratio": 2.0, "speed": dict.fromkeys(("one_thread", "all_cores", "predict_path"), NETWORKS)}
STARTUP = {
    "help_cpu_s": 0.5, "estimate_cpu_s": 2.0, "first_tile_s": 6.0,
    "rivals_cpu_s": {"typer": 0.25, "geopandas": 1.0, "torch": 3.0},
}  # fmt: skip
GROWTH = {
    "exponent": 1.02, "peak_mb": 3100, "seconds": [10.0, 41.2], "tiles": [25, 100], "footprints": [2500, 10_000],
    "by_stage": {k: {"seconds": s, "share": s / 41.2, "exponent": 1.0} for k, s in (("tiles", 30.0), ("power", 11.2))},
}  # fmt: skip
ENGINES = {
    "window": [640, 608], "simulated": False,
    "openvino": {"speed_ratio": 1.25, "torch_s": 0.5, "objects": 50, "lost": 0, "class_changed": 1},
    "compile": {"missing": "no C++ compiler"},
}  # fmt: skip


def test_the_table_has_a_row_for_each_figure_and_says_what_is_missing(tmp_path, monkeypatch):
    results = {
        "streaming": STREAMING, "growth": GROWTH, "engines": ENGINES, "detector_speed": SPEED, "startup": STARTUP
    }  # fmt: skip
    monkeypatch.setattr(bench, "run", lambda name, quick: results[name])
    out = tmp_path / "table.md"
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(out), "--quick"])
    bench.main()
    text = out.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.count("|") == 6 for line in rows)
    assert "| whole path, time | 40.0 s | 80.0 s | geoai | 2.00 |" in rows
    assert "| start of `overwatt --help`, processor time | 0.5 s | 0.25 s | import typer | 0.50 |" in rows
    assert "| after the network, 100 tiles, 10,000 footprints, time | 41 s |  |  |  |" in rows
    assert "| share of tiles | 73% |  |  |  |" in rows
    words = "network, one thread; 1 of 50 buildings of a real picture change"
    assert f"| {words} | 0.5 s | 0.40 s | openvino | 0.80 |" in rows
    assert "torchgeo is not installed" in text
    assert "not a measure" in text
    assert "SIMULATED" in text


def test_an_unknown_benchmark_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "--only", "streeming"])
    with pytest.raises(Exception, match="streaming"):
        bench.main()

"""The script for GPUs runs where there is none, on a small raster; nothing is timed."""

from benchmarks import gpu


def test_the_script_gives_all_figures_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)  # compilation takes a minute
    said = []
    found = gpu.measure(tmp_path, 400, "cpu", 0.01, said.append)
    assert {"device", "encoder", "network", "end_to_end", "of_encoder", "simulated"} <= found.keys()
    assert found["encoder"] > found["network"] > 0
    assert len(said) == 2
    assert (tmp_path / "run" / "footprints.parquet").is_file()

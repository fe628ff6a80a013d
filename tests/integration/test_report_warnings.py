"""The report of a run warns before the list of what makes its numbers mean less."""

import json
import shutil

from overwatt.workflows.config.run import load
from overwatt.workflows.run import computing, runner
from tests.support import registry_file


def test_weights_of_this_ground_and_a_registry_of_another(corner, weights, workflow_file, tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "CPU_COUNT", 1)
    learned = tmp_path / "w.safetensors"
    shutil.copy(weights, learned)
    card = json.loads(weights.with_suffix(".json").read_text())
    ring = [[-27.1, 44], [-26, 44], [-26, 46], [-27.1, 46]]
    place = {"name": "Our own district", "licence": "CC0-1.0", "outlines": "by hand", "outline": ring}
    # only a box is stated, and a ring of other ground inside a box that covers this ground
    boxed = place | {"name": "A boxed one", "extent": [-27.1, 44, -26, 46], "outline": None}
    beside = place | {"name": "Beside", "extent": [-27.1, 44, -26, 46], "outline": [[-26, 44], [-25, 44], [-25, 45]]}
    away = {"sites": 12, "places": 3, "recall_of_sites": 0.25, "false_sites_per_large_roof": 0.01}
    card |= {"training": [place, boxed, beside], "scores": {"elsewhere": away}}
    learned.with_suffix(".json").write_text(json.dumps(card))
    far = registry_file(tmp_path / "far.geojson", [(10.0, 50.0, {"id": "x", "name": "Far"})])
    settings = [f"imagery.path={corner}", f"detector.weights={learned}", f"declared.path={far}"]
    runner.run(load(workflow_file, settings), tmp_path / "run")
    report = (tmp_path / "run" / "report.html").read_text()
    front = report[: report.index('id="ledger"')]
    assert "learned from this very ground (Our own district, A boxed one, possibly)" in front
    assert "No declared facility lies within 3 km of the area" in front
    assert "far.geojson" in front
    measured = (
        "Away from its training ground (12 sites in 3 places) the detector finds 25% of the sites at one false site in "
        "100 large roofs."
    )
    assert report.count(measured) == 2  # among the limits and with the weights

"""Known sites of a run: all folders of KML, one name for each."""

from overwatt.workflows.config.run import Workflow
from overwatt.workflows.run.inputs import _known_sites


def test_sites_of_all_folders_are_taken_and_told_apart(tmp_path):
    point = "<Point><coordinates>-77.4,39</coordinates></Point>"
    mark = "<Placemark><name>{}</name>" + point + "</Placemark>"
    first, second = mark.format("Ash") + mark.format(""), mark.format("Ash") + mark.format("Beech")
    folders = f"<Folder><name>A</name>{first}</Folder><Folder><name>B</name>{second}</Folder>"
    path = tmp_path / "sites.kml"
    path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    workflow = Workflow.model_validate({"name": "w", "sites": path, "thermal": {"stack": "a.tif"}})
    assert list(_known_sites(workflow)["site_id"]) == ["Ash", "site 2", "Ash (2)", "Beech"]

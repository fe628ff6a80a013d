"""Known sites of a run: all folders of KML, one name for each."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from overwatt.workflows.config.run import Workflow
from overwatt.workflows.run.inputs import _known_sites
from tests.support import registry_file


def test_sites_of_all_folders_are_taken_and_told_apart(tmp_path):
    point = "<Point><coordinates>-77.4,39</coordinates></Point>"
    mark = "<Placemark><name>{}</name>" + point + "</Placemark>"
    first, second = mark.format("Ash") + mark.format(""), mark.format("Ash") + mark.format("Beech")
    folders = f"<Folder><name>A</name>{first}</Folder><Folder><name>B</name>{second}</Folder>"
    path = tmp_path / "sites.kml"
    path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    workflow = Workflow.model_validate({"name": "w", "sites": path, "thermal": {"stack": "a.tif"}})
    assert list(_known_sites(workflow)["site_id"]) == ["Ash", "site 2", "Ash (2)", "Beech"]


NAMES = st.lists(st.sampled_from(["A", "A (2)", "A (2) (2)", "B", "", "site 2", "A (3)"]), min_size=1, max_size=8)


@given(NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["A", "A", "A (2)"])
def test_no_two_sites_have_one_name(tmp_path, names):
    path = tmp_path / "sites.geojson"
    rows = [(float(k), 2.0, {"name": name}) for k, name in enumerate(names)]
    workflow = Workflow.model_validate({"name": "w", "sites": registry_file(path, rows), "thermal": {"stack": "a.tif"}})
    found = list(_known_sites(workflow)["site_id"])
    assert len(set(found)) == len(names)
    # the first site of a name keeps it
    firsts = {name: names.index(name) for name in names if name and name != "site 2"}
    assert all(found[k] == name for name, k in firsts.items())

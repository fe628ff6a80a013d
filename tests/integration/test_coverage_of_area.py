"""Coverage is of the ground that was asked for, whatever the imagery covers."""

import json

import geopandas as gpd
import pytest
import shapely

from overwatt.aoi.geodesy import outline_m2
from overwatt.workflows.config.run import load
from overwatt.workflows.run import computing, runner

CORNER = (-27.0, 45.0037, -26.98858, 45.01)  # of the image: 900 m by 700 m


@pytest.fixture
def one_worker(monkeypatch):
    monkeypatch.setattr(computing, "CPU_COUNT", 1)


@pytest.mark.parametrize(
    "area",
    [
        (-27.05, 44.98, -26.95, 45.03),
        (-26.995, 45.005, -26.98, 45.02),
        (-26.999, 45.005, -26.99, 45.009),
    ],
    ids=["all around", "half beside", "inside"],
)
def test_the_share_is_of_the_area(area, corner, workflow_file, tmp_path, one_worker):
    out = tmp_path / "run"
    runner.run(load(workflow_file, [f"area={list(area)}", f"imagery.path={corner}"]), out)
    said = json.loads((out / "manifest.json").read_text())["looked_at"]
    asked = shapely.box(*area)
    looked = gpd.read_parquet(out / "looked_at.parquet")
    imaged = looked[looked["screened"]].union_all()
    truth = outline_m2(shapely.intersection(asked, imaged)) / outline_m2(asked)
    assert said["share"] == pytest.approx(truth, abs=0.01)
    assert said["asked_km2"] == pytest.approx(outline_m2(asked) / 1e6, rel=0.01)
    outside = looked[looked["reason"] == "outside the imagery"]
    assert (outside.empty) == (truth > 0.98)
    assert not outside["screened"].any()
    # the cells together are the area, each once
    cells = shapely.union_all([imaged, *outside.geometry])
    assert shapely.intersection(cells, asked).area == pytest.approx(asked.area, rel=0.01)
    assert outline_m2(shapely.intersection(imaged, outside.union_all())) < 100
    report = (out / "report.html").read_text()
    assert f"{1 - truth:.0%}" in report or f"{round((1 - truth) * 100)}%" in report


def test_declarations_near_the_area_are_not_counted_in_it(corner, workflow_file, tmp_path, one_worker):
    out = tmp_path / "run"
    area = [-26.999, 45.001, -26.99, 45.009]  # one of three declarations lies in it
    runner.run(load(workflow_file, [f"area={area}", f"imagery.path={corner}"]), out)
    report = (out / "report.html").read_text()
    assert "3 facilities within 3 km of the area, 1 of them in it" in report
    assert "2 m on the ground; WGS 84 / UTM zone 26N" in report
    assert "not stated, so statuses are not compared" in report
    assert "no training imagery whose place the card states overlaps it" in report
    assert "(<b>1</b> in the area, the rest near it)" in report


@pytest.mark.realdata
@pytest.mark.slow
def test_the_district_that_the_real_image_covers_in_part(realdata, weights, tmp_path, one_worker):
    path = tmp_path / "w.yaml"
    image = realdata / "ashburn" / "naip_rgb_2m.tif"
    path.write_text(
        f"name: a\narea: [-77.4750, 39.0050, -77.4490, 39.0260]\nimagery: {{path: {image}}}\n"
        f"detector: {{weights: {weights}}}\nreport: {{chips: 0}}\n"
    )
    runner.run(load(path), tmp_path / "run")
    looked = json.loads((tmp_path / "run" / "manifest.json").read_text())["looked_at"]
    assert looked["asked_km2"] == pytest.approx(5.25, abs=0.02)
    assert 1 - looked["share"] == pytest.approx(0.72, abs=0.01)

"""Areas and workflow files of docs/howto/inputs.md: each is written and read, its values are compared."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from overwatt.aoi.area import area_from_setting, check_size
from overwatt.aoi.grid import crop_to_area
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.workflows.config.run import load
from overwatt.workflows.io.images import open_image
from tests.inputs_page import each, holds, same_rows
from tests.support import write_image
from tests.unit.workflows.config.test_yaml_meaning import HEAD, STAC, value, write

BBOX = (-77.5, 39.0, -77.44, 39.05)
BOX = shapely.box(*BBOX)
NORTH, SOUTH = shapely.box(-77.5, 39.02, -77.44, 39.05), shapely.box(-77.5, 39.0, -77.44, 39.02)
POINT = shapely.Point(0, 0)


def read(setting, folder, bbox=BBOX):
    area = area_from_setting(setting, folder)
    assert area.bbox == pytest.approx(bbox, abs=1e-5)
    return "read", ""


def feature(shape, **more):
    return {"type": "Feature", "properties": {}, "geometry": shape and shapely.geometry.mapping(shape), **more}


def features(*shapes, **more):
    return {"type": "FeatureCollection", "features": [feature(s) for s in shapes], **more}


def inline(content, bbox=BBOX):
    return lambda d: read(content, d, bbox)


def file(content, name="a.geojson"):
    def check(folder):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
        return read(name, folder)

    return check


def geopackage(folder, crs=32618):
    for name, shape in (("a", NORTH), ("b", SOUTH)):
        gpd.GeoDataFrame(geometry=[shape], crs=4326).to_crs(crs).to_file(folder / "a.gpkg", layer=name)
    return read("a.gpkg", folder)


def without_crs(folder):
    with pytest.warns(UserWarning, match="crs"):
        gpd.GeoDataFrame(geometry=[BOX]).to_file(folder / "a.gpkg")
    return read("a.gpkg", folder)


def kml(folder):
    folders = ""
    for shape in (NORTH, SOUTH):
        ring = " ".join(f"{x},{y},0" for x, y in shape.exterior.coords)
        folders += (
            "<Folder><Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>"
            f"{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Folder>"
        )
    (folder / "a.kml").write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    return read("a.kml", folder)


def old_crs(folder):
    utm = gpd.GeoSeries([BOX], crs=4326).to_crs(32618)[0]
    return read(
        {**feature(utm), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32618"}}}, folder
    )


def away(folder):
    path = write_image(folder / "a.tif", np.full((3, 64, 64), 90, np.uint8), block=16)
    image = open_image(path, load_card(DEFAULT_WEIGHTS))
    crop_to_area(image.geobox, area_from_setting(list(BBOX), folder))
    return "read", ""


def too_large(folder):
    check_size(area_from_setting([0, 0, 2, 2], folder), 1.0)
    return "read", ""


AREAS = {
    "[west, south, east, north] in degrees, GeoJSON in the workflow file or as a file": each(
        inline(list(BBOX)), inline(feature(BOX)), file(features(BOX))
    ),
    "several features, layers of a GeoPackage in any CRS, folders of KML, GeoJSON with the old member crs": each(
        file(features(NORTH, SOUTH)), geopackage, kml, old_crs
    ),
    "west greater than east, or an outline that crosses 180°": each(
        inline([179, -18, -179, -16], (179, -18, -179, -16)),
        inline(feature(shapely.Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)])), (179, 0, -179, 1)),
    ),
    "points and lines beside polygons": inline(features(BOX, POINT, BOX.exterior)),
    "points or lines only, or nothing": each(inline(features(POINT)), inline(features()), inline(features(None))),
    "an outline that crosses itself, or that goes around a pole": each(
        inline(feature(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))),
        inline(feature(shapely.Polygon([(-120, 80), (0, 80), (120, 80)]))),
    ),
    "numbers in the wrong order, beyond 90° or 180°, or in metres without CRS": each(
        inline([0, 2, 1, 1]), inline([1, 0, 1, 1]), inline([0, 0, 1, 91]), inline([0, 0, 181, 1]),
        inline(feature(shapely.box(5e5, 4e6, 5.1e5, 4.1e6))),
    ),
    "Shapefile, CSV, KMZ, GeoPackage without CRS, truncated GeoJSON": each(
        *(file(b"x", n) for n in ("a.shp", "a.csv", "a.kmz")), without_crs,
        file(json.dumps(features(BOX)).encode()[:-9]),
    ),
    "an area away from the image, or of more than 10,000,000,000 pixels": each(away, too_large),
}  # fmt: skip


def setting(line, key, expected):
    """A workflow file with one more line: the value of a key."""

    def check(folder):
        got = value(load(write(folder, line if "imagery" in line else f"{line}\nimagery: {{path: a.tif}}\n")), key)
        assert (got, type(got)) == (expected, type(expected))
        return "read", ""

    return check


def refused(content):
    return lambda d: (str(load(write(d, content))), "")


def paths(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERWATT_DATA", str(folder / "data"))
        text = "name: w\ntitle: $OVERWATT_DATA\nimagery: {path: '${OVERWATT_DATA}/a.tif'}\ndeclared: {path: r.csv}\n"
        (folder / "in").mkdir()
        workflow = load(write(folder / "in", text))
    assert workflow.imagery.path == folder / "data" / "a.tif"
    assert workflow.declared.path == folder / "in" / "r.csv"
    assert workflow.title == "$OVERWATT_DATA"
    return "read", ""


WORKFLOWS = {
    "dates without quotes, with a time, as 20230601; of a catalogue also as an interval or a list": each(
        *(setting(f"{HEAD}  date: {d}\n", "imagery.date", "2023-06-01")
          for d in ("2023-06-01", "'2023-06-01'", "2023-06-01T10:30:00Z", "20230601")),
        setting(STAC.format("2023-06-01"), "imagery.stac.datetime", "2023-06-01"),
        setting(STAC.format("[2023-06-01, 2023-12-31]"), "imagery.stac.datetime", "2023-06-01/2023-12-31"),
    ),
    "numbers in quotes, 3e-3, 010": each(
        setting('name: w\nprior: "0.5"', "prior", 0.5), setting("name: w\nprior: 3e-3", "prior", 0.003),
        setting("name: w\nseed: 010", "seed", 10),
    ),
    "a name or title that looks like a number, a date, a time or no": each(
        setting("name: 2024", "name", "2024"), setting("name: 1.10", "name", "1.10"), setting("name: no", "name", "no"),
        setting("name: w\ntitle: 12:30", "title", "12:30"), setting("name: 2023-06-01", "name", "2023-06-01"),
    ),
    "a group with nothing in it; byte-order mark, line ends of Windows": each(
        setting("name: w\nthermal:\ndeclared:", "thermal.unit", "kelvin"),
        setting("\ufeff" + HEAD.replace("\n", "\r\n"), "name", "w"),
    ),
    "~, $NAME and ${NAME} in paths; relative paths": paths,
    "a variable that is not set, a URL or a Windows drive as a path": each(
        *(refused(HEAD.replace("a.tif", p)) for p in ("$OVERWATT_NONE/a.tif", "https://host/a.tif", "C:\\data\\a.tif"))
    ),
    "unknown key, or a key given twice": each(
        refused(HEAD + "prioor: 0.5\n"), refused(HEAD + "prior: 0.1\nprior: 0.2\n")
    ),
    "a decimal comma, a day that does not exist, 01.06.2023": each(
        refused(HEAD + "prior: 0,5\n"), refused(HEAD + "  date: 2023-02-30\n"), refused(HEAD + "  date: 01.06.2023\n")
    ),
    "a tab, or backslashes in double quotes": each(
        refused(HEAD + "thermal:\n\tunit: kelvin\n"), refused(HEAD + 'title: "C:\\data"\n')
    ),
    "aliases, tags such as !!python/object": each(
        refused(HEAD + "title: &x a\nattribution: [*x]\n"), refused(HEAD + "title: !!python/object:os.system x\n")
    ),
    "UTF-16, Latin-1, no mapping, or more than 1 MB": each(
        refused(HEAD.encode("utf-16")), refused(HEAD.encode() + b"title: M\xfcnster\n"), refused("- a\n"),
        refused(HEAD + "#" * 1_000_001),
    ),
}  # fmt: skip
SECTIONS = {"Areas": AREAS, "Workflow files": WORKFLOWS}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_and_the_checks_have_the_same_rows(section):
    same_rows(section, SECTIONS[section])


@pytest.mark.parametrize(("section", "given"), [(s, g) for s, checks in SECTIONS.items() for g in checks])
def test_settings_fare_as_the_page_says(section, given, tmp_path):
    holds(section, given, SECTIONS[section][given], tmp_path)

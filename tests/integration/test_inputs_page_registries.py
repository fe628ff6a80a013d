"""Registries of docs/howto/inputs.md: each is written and read, its rows are counted and compared."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.io import registries
from tests.inputs_page import each, holds, same_rows
from tests.unit.pipeline.declared.test_osm import CORNERS, FORMS, TAGS, VERTICES

SECTION = "Registries"
PLACES = {"Ash": (-77.46012, 39.02012), "Beech": (-77.47012, 39.03012)}
ROWS = [[n, str(x), str(y)] for n, (x, y) in PLACES.items()]
POINTS = [shapely.Point(xy) for xy in PLACES.values()]
KML = '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'
LONG = 900719925474099301


def table(path, rows=2, places=True, partial=False, columns=None):
    """Read a registry: so many rows at their places, with these values; notes and reasons are what is said."""
    notes = []
    found, kept = registries.read_all(path, partial=partial, notes=notes)
    assert len(found) == rows
    if places:
        middle = shapely.centroid(found.geometry.to_numpy())
        assert (np.minimum(*(shapely.distance(middle, p) for p in POINTS)) < 1e-5).all()
    for column, values in (columns or {}).items():
        assert found[column].tolist() == values
    part = any("not whole" in n or "not read" in n for n in notes)
    outcome = "kept aside" if len(kept) else "read in part" if part else "read"
    return outcome, " ".join([*notes, *kept["reason"]])


def text(content, name="r.csv", encoding="utf-8", **expected):
    def check(folder):
        data = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_bytes(data.encode(encoding))
        return table(folder / name, **expected)

    return check


def csv(separator=",", end="\n", before=""):
    lines = [separator.join(r) for r in (["name", "lon", "lat"], *ROWS)]
    return text(before + end.join(lines) + end, columns={"name": list(PLACES)})


def features(*properties, shapes=POINTS, **members):
    return {"type": "FeatureCollection", **members, "features": [
        {"type": "Feature", "properties": p, "geometry": g and shapely.geometry.mapping(g)}
        for p, g in zip(properties, shapes, strict=False)
    ]}  # fmt: skip


AB = features({"id": "a"}, {"id": "b"})


def frame(crs=WGS84):
    return gpd.GeoDataFrame({"id": ["a", "b"]}, geometry=POINTS, crs=WGS84).to_crs(crs)


def vector(name, crs=WGS84):
    def check(folder):
        if name.endswith("parquet"):
            frame(crs).to_parquet(folder / name)
        else:
            frame(crs).to_file(folder / name)
        return table(folder / name, columns={"declared_id": ["a", "b"]})

    return check


def placemark(name):
    x, y = PLACES[name]
    return f"<Placemark><name>{name}</name><Point><coordinates>{x},{y},0</coordinates></Point></Placemark>"


def kml_folder(name, *inside):
    return f"<Folder><name>{name}</name>{''.join(inside)}</Folder>"


FOLDERS = KML.format(kml_folder("Operating", placemark("Ash")) + kml_folder("Planned", placemark("Beech")))


def layers(folder):
    for name, row in (("one", slice(0, 1)), ("two", slice(1, 2))):
        frame()[row].to_file(folder / "r.gpkg", layer=name)
    return table(folder / "r.gpkg")


def layer_without_places(folder):
    frame().to_file(folder / "r.gpkg", layer="sites")
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), folder / "r.gpkg", layer="owners")
    return table(folder / "r.gpkg")


def arrow(encoding):
    def check(folder):
        if encoding == "plain WKB":
            pd.DataFrame(frame().to_wkb()).to_parquet(folder / "r.parquet")
        else:
            pq.write_table(pa.table(frame(32618).to_arrow(geometry_encoding=encoding)), folder / "r.parquet")
        return table(folder / "r.parquet")

    return check


def parquet_ids(folder):
    ids = pd.array([LONG, None], dtype="Int64")
    pd.DataFrame({"id": ids, "lon": [-77.46012, -77.47012], "lat": [39.02012, 39.03012]}).to_parquet(
        folder / "r.parquet"
    )
    return table(folder / "r.parquet", columns={"declared_id": [str(LONG), "2"]})


def cells(*values):
    """Geometries as text in a CSV."""

    def check(folder):
        pd.DataFrame({"id": range(len(values)), "geom": values}).to_csv(folder / "r.csv", index=False)
        return table(folder / "r.csv", rows=len(values))

    return check


def overpass(form):
    content = {"elements": FORMS[form]}
    outline = shapely.Polygon([*CORNERS, CORNERS[0]])

    def check(folder):
        (folder / "o.json").write_text(json.dumps(content))
        found, kept = registries.read_all(folder / "o.json")
        assert found.geometry[0].normalize().equals_exact(outline.normalize(), 1e-12)
        assert len(found) == 1
        assert kept.empty
        return "read", ""

    return check


NODE = {"type": "node", "id": 1, "lon": -77.46012, "lat": 39.02012, "tags": TAGS}
REMARK = {"elements": [NODE], "remark": 'runtime error: Query timed out in "query" at line 4.'}
ESRI = {
    "geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326},
    "fields": [{"name": "OBJECTID", "type": "esriFieldTypeOID"}],
    "features": [
        {"attributes": {"OBJECTID": k}, "geometry": {"x": x, "y": y}} for k, (x, y) in enumerate(PLACES.values())
    ],
}  # fmt: skip


def kept(line, rows=2, header="id,lon,lat,it_mw", **expected):
    """Two good rows of a CSV, and another one."""
    good = ["a,-77.46012,39.02012,5", "b,-77.47012,39.03012,6"]
    return text("\n".join([header, *good, line]) + "\n", rows=rows, **expected)


def drawn(*shapes, rows=0):
    """Rows of their own geometry beside the two good ones."""
    content = features(*({"id": k} for k in "abcdef"), shapes=[*POINTS, *shapes])
    return text(content, "r.geojson", rows=2 + rows, places=not rows)


NEAR = shapely.MultiPoint([(1, 2), (1.002, 2)])
FAR = shapely.MultiPoint([(1, 2), (1.01, 2)])
LINE = shapely.LineString([(1, 2), (3, 4)])
OUTLINE = shapely.box(1, 2, 1.001, 2.001)
TURNED = shapely.box(282.53, 39.02, 282.55, 39.0202)


def words(status, *texts):
    lines = [f"{k},-77.46012,39.02012,{word}" for k, word in enumerate(texts)]
    return text(
        "id,lon,lat,status\n" + "\n".join(lines) + "\n", rows=len(texts), columns={"status": [status] * len(texts)}
    )


def odd_file(name, head):
    return lambda d: ((d / name).write_bytes(head), table(d / name))[1]


PARTS = (
    features({"id": "a"}, exceededTransferLimit=True), features({"id": "a"}, numberMatched=1853),
    features({"id": "a"}, links=[{"rel": "next", "href": "x"}]), REMARK,
)  # fmt: skip
CHECKS = {
    "CSV with commas, semicolons, tabs or bars; line ends of Windows, Unix, Mac; UTF-8, UTF-16, code pages": each(
        *(csv(separator=s, end=e) for s in ",;\t|" for e in ("\n", "\r\n", "\r")),
        *(text("name;lon;lat\nZürich Süd – Größe;-77.46012;39.02012\n", rows=1, encoding=e,
               columns={"name": ["Zürich Süd – Größe"]})
          for e in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")),
    ),
    "line `sep=;`, title and comment lines; line breaks and commas in header cells; decimal commas, thousands": each(
        csv(";", before="sep=;\n"), csv(before="List of permits\n\n"), csv(before="# Source: A, B\n"),
        text('"id\n(own, local)","Longitude",lat\n"a,\nb",-77.46012,39.02012\n', rows=1),
        text("id;lon;lat;it_mw\na;-77,46012;39,02012;1.234,5\nb;-77,47012;39,03012;51,5\n",
             columns={"it_mw": [1234.5, 51.5]}),
    ),
    "line of two or more cells before the header": csv(before="By county, 2026\n"),
    "a line with more or fewer fields than the header, or a broken quote": each(
        kept("c,-77.48"), kept("c,-77.48,39,1,9"), kept('c,"-77.48,39,1')
    ),
    "CSV that ends within a row, JSON cut short": each(
        text("id,lon,lat\na,-77.46012,39.02012\nb,-77.4", rows=1), text(json.dumps(AB)[:-9], "r.geojson"),
        text(json.dumps({"elements": [NODE]})[:-9], "r.json"),
    ),
    "two columns that differ by case or blanks, lat and latitude with different values": each(
        text("id,lon,lat,it_mw,IT_MW\na,-77.46012,39.02012,3,300\n", rows=1),
        text("id,lon,lat,it mw,itmw\na,-77.46012,39.02012,3,300\n", rows=1),
        text(features({"id": "a", "it_mw": 3, "IT_MW": 300}), "r.geojson", rows=1),
        text("id,lon,lat,latitude\na,-77.46012,39.02012,3\n", rows=1),
    ),
    "GeoJSON, GeoPackage, GeoParquet in any CRS that they state; one feature per line; Esri JSON": each(
        vector("r.geojson"), vector("r.gpkg", 32618), vector("r.parquet", 3857),
        text("\n".join(map(json.dumps, AB["features"])), "r.geojsonl", columns={"declared_id": ["a", "b"]}),
        text(AB["features"], "r.json", columns={"declared_id": ["a", "b"]}), text(ESRI, "r.json"),
    ),
    "Parquet with GeoArrow or plain WKB; CSV with WKT, EWKT, WKB in hexadecimal, GeoJSON": each(
        *map(arrow, ("geoarrow", "WKB", "plain WKB")), cells(POINTS[0].wkt, f"SRID=4326;{POINTS[1].wkt}"),
        cells(POINTS[0].wkb_hex, json.dumps(shapely.geometry.mapping(POINTS[1]))),
    ),
    "several layers of a GeoPackage, folders of KML, also in folders": each(
        layers, text(FOLDERS, "r.kml", columns={"status": ["operational", "planned"]}),
        text(KML.format(kml_folder("A", placemark("Ash"), kml_folder("B", placemark("Beech")))), "r.kml"),
    ),
    "layer without geometries, or network link of KML, beside places": each(
        layer_without_places,
        text(KML.format("<NetworkLink><Link><href>x.kml</href></Link></NetworkLink>" + placemark("Ash")), "r.kml",
             rows=1),
    ),
    "KML with a network link only": text(KML.format("<NetworkLink/>"), "r.kml"),
    "ids of 18 and more digits beside an empty id, leading zeros": each(
        text(features({"id": LONG}, {"id": None}), "r.geojson", columns={"declared_id": [str(LONG), "2"]}), parquet_ids,
        text("id,lon,lat\n0042,-77.46012,39.02012\n7,-77.47012,39.03012\n", columns={"declared_id": ["0042", "7"]}),
    ),
    "an id that comes twice": kept("a,-77.47012,39.03012,7"),
    "degrees, minutes, seconds with N, S, E, W; longitudes of 0 to 360": each(
        text("id\tlon\tlat\na\t77°27'36.43\"W\t39°1'12.43\"N\nb\tW 77 28 12.43\tN 39 01 48.43\n"),
        text("id,lon,lat\na,282.53988,39.02012\nb,282.52988,39.03012\n"),
    ),
    "degrees, minutes, seconds without letter or sign, or with O; a geometry in another SRID": each(
        kept("c,77°27'36\",39.02,1"), kept("c,77.46 O,39.02,1"),
        text(f"id,geom\na,{POINTS[0].wkt}\nb,SRID=32618;POINT(1 2)\n", rows=1),
    ),
    "no coordinates, null geometry, 0, 0, or longitude and latitude swapped out of their range": each(
        kept("c,,,1"), kept("c,0,0,1"), drawn(None), kept("c,39.02,-120,1")
    ),
    "swapped within the range, alone; a place in the sea": each(
        text("id,lon,lat\na,39.02012,-77.46012\n", rows=1, places=False),
        text("id,lon,lat\na,-40.5,35.5\n", rows=1, places=False),
    ),
    "coordinates in metres without CRS": text("id,x,y\na,285000,4322000\nb,285100,4322300\n"),
    "MultiPoint within 200 m, closed line": drawn(NEAR, shapely.LineString(OUTLINE.exterior.coords), rows=2),
    "MultiPoint with points farther away, open line": each(drawn(FAR), drawn(LINE)),
    "a range or estimate of power (approx. 20-30, 100+, up to 300)": each(
        text("id,lon,lat,it_mw\na,-77.46012,39.02012,approx. 20-30\nb,-77.47012,39.03012,up to 300\n"),
        text("id,lon,lat,it_mw\na,-77.46012,39.02012,100+\nb,-77.47012,39.03012,~30\n"),
    ),
    "power that is no number (large), total rows": each(kept("c,-77.48,39,large"), kept("Total,,,11")),
    "Overpass JSON: out center, out geom, out body with its nodes": each(
        text({"elements": [NODE]}, "o.json", rows=1), *map(overpass, ("geom", "body and skel", "relation, geom"))
    ),
    "Overpass JSON of out ids, out tags, or out skel alone; OpenStreetMap XML": each(
        text({"elements": VERTICES}, "o.json"), text({"elements": [{"type": "way", "id": 1, "tags": TAGS}]}, "o.json"),
        text({"elements": [{"type": "way", "id": 1}]}, "o.json"),
        text('<?xml version="1.0"?><osm version="0.6"/>', "r.osm"),
    ),
    "a page, or an answer that was cut: exceededTransferLimit, numberMatched or another total, next link, remark": each(
        *(text(content, "r.json", rows=1) for content in PARTS)
    ),
    "the same with --partial (declared.partial: true)": each(
        *(text(content, "r.json", rows=1, partial=True) for content in PARTS)
    ),
    "a page of a service that says nothing of further pages": text(features({"id": "a"}), "r.json", rows=1),
    "status words of registries: Operating, Phase 1 operational, in Betrieb, Withdrawn, Shelved - inferred 2 y": each(
        words("operational", "Operating", "Phase 1 operational", "Expanding", "in Betrieb"),
        words("cancelled", "Cancelled", "Withdrawn", "Blocked", "Shelved - inferred 2 y"),
    ),
    "status words that are not known: TBD, Status 7, decommissioning planned": words(
        "unknown", "TBD", "Status 7", "decommissioning planned"
    ),
    "Excel workbook, ZIP, gzip, PDF, also named .csv; KMZ": each(
        *(odd_file(name, head) for name in ("r.csv", "r.xlsx") for head in (b"PK\3\4", b"\xd0\xcf\x11\xe0")),
        odd_file("r.csv", b"\x1f\x8b.."), odd_file("r.csv", b"%PDF-1.7"), odd_file("r.kmz", b"PK\3\4"),
    ),
    "web page, for example a login or error page": odd_file("r.json", b"<html><body>504</body></html>"),
    "Shapefile": odd_file("r.shp", b"\0\0\x27\x0a" + bytes(96)),
}  # fmt: skip


def test_the_page_and_the_checks_have_the_same_rows():
    same_rows(SECTION, CHECKS)


@pytest.mark.parametrize("given", CHECKS)
def test_a_registry_fares_as_the_page_says(given, tmp_path):
    holds(SECTION, given, CHECKS[given], tmp_path)

"""A small run with a plan, and the lists of `overwatt export` as inspectors fill them in, in each format."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import openpyxl
import pandas as pd
import pyogrio
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.assess import inspection
from overwatt.workflows.export import inspection_list
from overwatt.workflows.io.raster_checks import content_sha256
from tests.support import NORTH_M, UTM_26N, WEST_M, write_image

KML = "http://www.opengis.net/kml/2.2"
# column, row, side in pixels of 2 m, and what the run thought of the site
SITES = {"S1": (20, 20, 24, 0.6), "S2": (60, 20, 24, 0.9)}
CELLS = {"r0c0": (0, 0, 150), "r0c1": (150, 0, 150), "r1c0": (0, 150, 150), "r1c1": (150, 150, 150)}
DRAWN = (240, 30, 20)
"""Where the inspector finds the data center of the declaration that the run did not see."""
WHEN = "2025-05-04T10:30:00Z"
FILLED = {
    "E-S1": {"finding": "not_dc", "inspector": "Jane Doe", "time": WHEN, "note": "=a supermarket; closed, 2 floors"},
    "E-S2": {"finding": "ai", "measured_mw": 12.5, "chips": 1000, "inspector": "Jane Doe", "time": WHEN},
    "E-D1": {"finding": "non_ai_dc", "inspector": "Jane Doe", "time": WHEN},
    "cell r1c0": {"finding": "not_dc", "inspector": "Jane Doe", "time": WHEN},
}


def outline(x, y, side):
    box = shapely.box(WEST_M + 2 * x, NORTH_M - 2 * (y + side), WEST_M + 2 * (x + side), NORTH_M - 2 * y)
    return gpd.GeoSeries([box], crs=UTM_26N).to_crs(4326).iloc[0]


def defaults(table):
    of_type = {"float64": 1.0, "int64": 1, "bool": False}
    return {c.name: of_type.get(c.dtype, "x") for c in tables.SCHEMAS[table] if not c.nullable}


def make_run(folder: Path) -> Path:
    """Write what a run leaves behind: tables, manifest, its image; and a plan that draws every place."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(8).integers(1, 255, (3, 300, 300), dtype=np.uint8)
    image = write_image(folder / "image.tif", pixels)
    boxes = {name: outline(*s[:3]) for name, s in SITES.items()}
    rows = {
        "sites": [defaults("sites") | {"site_id": s, "p_data_center": v[3], "geometry": boxes[s]}
                  for s, v in SITES.items()],
        "footprints": [defaults("footprints") | {"class": "data_center", "geometry": g} for g in boxes.values()],
        "declared": [defaults("declared") | {"declared_id": "D1", "chips": 7.0, "geometry": outline(*DRAWN).centroid}],
        "looked_at": [defaults("looked_at") | {"cell": k, "screened": k != "r1c1", "geometry": outline(*c)}
                      for k, c in CELLS.items()],
        "ledger": [
            *(defaults("ledger") | {"entry_id": f"E-{s}", "rank": k, "class": "undeclared", "site_id": s,
                                    "geometry": boxes[s]} for k, s in enumerate(SITES, 1)),
            defaults("ledger") | {"entry_id": "E-D1", "rank": 3, "class": "not_seen", "declared_id": "D1",
                                  "declared_it_mw": 10.0, "geometry": outline(*DRAWN).centroid},
        ],
    }  # fmt: skip
    for name, records in rows.items():
        tables.conform(records, name).to_parquet(folder / f"{name}.parquet")
    manifest = {"parameters": {"imagery": {"path": str(image)}}, "inputs": {"imagery": content_sha256(image)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    inspection.run(folder, 5.0, floor=0.02, seed=1, out=None)
    return folder


def export(folder: Path) -> dict[str, Path]:
    return {kind: Path(file) for kind, file in inspection_list.run(folder)["files"].items()}


def fill_xlsx(file, filled=FILLED, outlines=()):
    book = openpyxl.load_workbook(file)
    sheet = book["form"]
    head = [c.value for c in sheet[1]]
    for line in sheet.iter_rows(min_row=2):
        for name, value in filled.get(line[0].value, {}).items():
            is_time = name == "time" and value == WHEN
            cell = line[head.index(name)]
            cell.value = datetime(2025, 5, 4, 10, 30) if is_time else value
            if isinstance(value, str):
                cell.data_type = "d" if is_time else "s"
    book.save(file)


def fill_csv(file, filled=FILLED, outlines=(), *, separator=",", mark=".", encoding="utf-8"):
    with file.open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    for row in rows:
        row |= {k: str(v) for k, v in filled.get(row["entry_id"], {}).items()}
        if mark == ",":
            row |= {k: row[k].replace(".", ",") for k in ("lon", "lat", "measured_mw")}
    with file.open("w", newline="", encoding=encoding) as target:
        out = csv.DictWriter(target, list(rows[0]), delimiter=separator)
        out.writeheader()
        out.writerows(rows)


def fill_semicolons(file, filled=FILLED, outlines=()):
    """As Excel saves a CSV where a comma is the decimal mark."""
    fill_csv(file, filled, separator=";", mark=",", encoding="cp1252")


def fill_gpkg(file, filled=FILLED, outlines=()):
    layers = {str(name): pyogrio.read_dataframe(file, layer=name) for name, kind in pyogrio.list_layers(file) if kind}
    list_, areas = layers["ledger"], layers["ledger_areas"]
    for entry, cells in filled.items():
        for name, value in cells.items():
            list_.loc[list_["entry_id"] == entry, name] = value
    for entry, shape in dict(outlines).items():
        areas = pd.concat([areas[areas["entry_id"] != entry], gpd.GeoDataFrame({"entry_id": [entry]}, geometry=[shape],
                                                                               crs=4326)])  # fmt: skip
    file.unlink()
    for name, frame in (layers | {"ledger": list_, "ledger_areas": areas}).items():
        pyogrio.write_dataframe(frame, file, layer=name, driver="GPKG", append=file.exists(), promote_to_multi=True)


def fill_kml(file, filled=FILLED, outlines=()):
    ET.register_namespace("", KML)
    tree = ET.parse(file)
    for mark in tree.iter(f"{{{KML}}}Placemark"):
        entry = mark.find(f".//{{{KML}}}SimpleData[@name='entry_id']").text
        for data in mark.iter(f"{{{KML}}}SimpleData"):
            data.text = str(filled.get(entry, {}).get(data.get("name"), data.text or ""))
        if shape := dict(outlines).get(entry):
            mark.remove(next(c for c in mark if c.tag.endswith(("Point", "Polygon", "MultiGeometry"))))
            ring = " ".join(f"{x:.7f},{y:.7f}" for x, y in shape.exterior.coords)
            mark.append(ET.fromstring(
                f'<Polygon xmlns="{KML}"><outerBoundaryIs><LinearRing><coordinates>{ring}</coordinates></LinearRing>'
                "</outerBoundaryIs></Polygon>"
            ))  # fmt: skip
    tree.write(file, encoding="UTF-8", xml_declaration=True)


def fill_geojson(file, filled=FILLED, outlines=()):
    content = json.loads(file.read_text(encoding="utf-8"))
    for feature in content["features"]:
        feature["properties"] |= filled.get(feature["id"], {})
        if shape := dict(outlines).get(feature["id"]):
            feature["geometry"] = json.loads(shapely.to_geojson(shape))
    file.write_text(json.dumps(content), encoding="utf-8")


FORMATS = {
    "xlsx": ("xlsx", fill_xlsx), "csv": ("csv", fill_csv), "csv with semicolons": ("csv", fill_semicolons),
    "gpkg": ("gpkg", fill_gpkg), "kml": ("kml", fill_kml), "geojson": ("geojson", fill_geojson),
}  # fmt: skip
"""By name: kind of file, and the function that fills it in."""
WITH_OUTLINES = ("gpkg", "kml", "geojson")


def returned(source: Path, folder: Path, how: str, filled=FILLED, outlines=()) -> tuple[Path, Path]:
    """Copy a run, export its list, and return the copy and the list filled in."""
    run = Path(shutil.copytree(source, folder / "run"))
    kind, fill = FORMATS[how]
    file = export(run)[kind]
    fill(file, filled, outlines)
    return run, file

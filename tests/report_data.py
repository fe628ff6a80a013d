"""Data of a report for tests: three sites or more, three declared facilities, one tile that failed.

In: numbers of sites, texts. Out: a `ReportData` in the Atlantic.
"""

from dataclasses import replace

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from overwatt.pipeline.report.page import ReportData
from overwatt.pipeline.report.rasters import chip, to_web_mercator
from overwatt.pipeline.tables import QUANTILE_NAMES, conform, empty

SPREAD = np.array([0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0, 2.5])
GRID = GeoBox((300, 400), Affine(2, 0, 499600, 0, -2, 4983300), "EPSG:32626")
LON, LAT = -27.0, 45.0
HOSTILE = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>"


def quantiles(stem: str, median: float) -> dict[str, float]:
    return {f"{stem}_{q}": float(median * f) for q, f in zip(QUANTILE_NAMES, SPREAD, strict=True)}


def site_rows(n: int) -> list[dict[str, object]]:
    rows = []
    for k in range(n):
        lon, lat = LON + 0.004 * (k % 20), LAT + 0.003 * (k // 20)
        rows.append(
            {
                "site_id": f"N{lat:.4f}W{-lon:.4f}-{k}",
                "p_data_center": 0.93,
                "prior": 0.003,
                "lon": lon,
                "lat": lat,
                "buildings": 2,
                "building_area_m2": 21000.0,
                "cooling_objects": 3,
                "cooling_area_m2": 900.0,
                "on_border": k == 1,
                **quantiles("it_mw", 52.0 + k),
                **quantiles("facility_mw", 68.0 + k),
                **quantiles("h100e", 31234.0),
                **quantiles("flop_90d", 1.3e26),
                "seed": 7,
                "assumptions": "Footprint prior of 2026.",
                "geometry": box(lon - 0.0008, lat - 0.0005, lon + 0.0008, lat + 0.0005),
            }
        )
    return rows


def declared_rows(name: str) -> list[dict[str, object]]:
    common = {"kind": "facility", "source": "register of X", "licence": "CC-BY 4.0", "operator": "Operator"}
    places = [Point(LON, LAT), Point(LON + 0.01, LAT - 0.003), Point(LON + 0.3, LAT)]
    return [
        {
            **common,
            "declared_id": f"d-{k}",
            "position_error_m": 50.0,
            "name": name,
            "it_mw": 20.0,
            "geometry": p,
        }
        for k, p in enumerate(places)
    ]


def ledger_row(rank: int, klass: str, site: str | None, declared: str | None, text: str) -> dict[str, object]:
    return {
        "entry_id": f"E-{rank}",
        "rank": rank,
        "class": klass,
        "site_id": site,
        "declared_id": declared,
        "p_match": None if declared is None else 0.87,
        "p_detect": 1.0 if site is None else None,
        "distance_m": 1234.0 if site and declared else None,
        "p_data_center": 0.93,
        "it_mw_p50": 52.0 if site else None,
        "declared_it_mw": 20.0 if declared else None,
        "undeclared_flop_90d": 1.26e26 / rank,
        "evidence_for": f"{text} Reason {rank}. More of it.",
        "evidence_against": f"{text} Against.",
        "settles": f"{text} Settles.",
        "geometry": None,
    }


def example(n: int = 3, name: str = "Alder", text: str = "", **changes: object) -> ReportData:
    sites = conform(site_rows(n), "sites")
    declared = conform(declared_rows(name), "declared")
    rows = [ledger_row(1, "above_declared", sites["site_id"][0], "d-0", text)]
    rows += [ledger_row(k + 1, "undeclared", sites["site_id"][k], None, text) for k in range(1, n - 1)]
    rows.append(ledger_row(n, "not_seen", None, "d-1", text))
    looked = [
        {"cell": "a", "imaged": 1.0, "clear_looks": 2, "screened": True, "failed": False, "reason": ""},
        {
            "cell": "b",
            "imaged": 0.0,
            "clear_looks": 0,
            "screened": False,
            "failed": True,
            "reason": f"HTTP 503 {text}",
        },
    ]
    for k, row in enumerate(looked):
        row["geometry"] = box(LON - 0.01 + 0.03 * k, LAT - 0.01, LON + 0.02 + 0.03 * k, LAT + 0.01)
    first = sites["site_id"][0]
    look = {"site_id": first, "reason": text, "ring_pixels": 90}
    looks = [{**look, "time": f"2026-0{m}-01", "used": m != 2, "excess_k": 0.5 * m} for m in (1, 2, 3)]
    heat = {
        "site_id": first,
        "looks_used": 2,
        "looks_total": 3,
        "lst_excess_k": 1.0,
        "ring_sd_k": 0.8,
        "robust_z": 1.2,
        "floor_mw": 560.0,
        "statement": f"{text} No information.",
    }
    footprint = {"object_id": "d1", "class": "data_center", "score": 0.9, "epistemic": 0.1, "area_m2": 100.0,
                 "on_border": False, "tile": "a", "scenes": "s", "geometry": sites.geometry[0]}  # fmt: skip
    values: dict[str, object] = {
        "title": f"Report {name}",
        "area_name": f"Area {text}",
        "created": "2026-11-23T12:00:00Z",
        "simulated": True,
        "sites": sites,
        "footprints": conform([footprint], "footprints"),
        "declared": declared,
        "ledger": conform(rows, "ledger"),
        "looked_at": conform(looked, "looked_at"),
        "thermal": conform([heat], "thermal"),
        "thermal_looks": conform(looks, "thermal_looks"),
        "not_looked_at": conform([{**declared_rows(name)[2], "looked_at": 0.0}], "declared"),
        "facts": {"Weights": f"w-1 {text}", "command": "overwatt run x.yaml"},
        "limits": [f"Indoor plant is not seen. {text}"],
        "attribution": [f"Imagery: simulated {text}"],
    }
    return ReportData(**{**values, **changes})


def nothing(**changes: object) -> ReportData:
    tables = ("sites", "footprints", "declared", "ledger", "looked_at", "thermal", "thermal_looks")
    bare = {name: empty(name) for name in tables} | {"not_looked_at": empty("declared")}
    return replace(example(), facts={}, limits=[], attribution=[], **{**bare, **changes})


def _site(k: int, mw: float) -> dict[str, object]:
    lon, lat = LON + 0.002 * (k % 3 - 1), LAT + 0.0015 * (k // 3 % 3 - 1)
    medians = {"it_mw": mw, "facility_mw": 1.3 * mw, "h100e": 500 * mw, "flop_90d": 1.3e24 * mw}
    columns = {f"{s}_{q}": m * f for s, m in medians.items() for q, f in zip(QUANTILE_NAMES, SPREAD, strict=True)}
    fixed = {
        "p_data_center": 0.9,
        "prior": 0.01,
        "buildings": 1,
        "building_area_m2": 9e3,
        "cooling_objects": 2,
    }
    rest = {
        "cooling_area_m2": 400.0,
        "on_border": False,
        "seed": 1,
        "assumptions": HOSTILE,
        "lon": lon,
        "lat": lat,
    }
    shape = box(lon - 0.0005, lat - 0.0003, lon + 0.0005, lat + 0.0003)
    return {"site_id": f"S{k}", **fixed, **rest, **columns, "geometry": shape}


def hostile_report(n: int = 3) -> ReportData:
    sites = conform([_site(k, mw) for k, mw in zip(range(n), np.resize([9.0, 120.0, 30.0], n), strict=True)], "sites")
    place = {
        "kind": "facility",
        "name": HOSTILE,
        "operator": HOSTILE,
        "source": HOSTILE,
        "position_error_m": 40.0,
    }
    declared = conform(
        [
            {**place, "declared_id": "d0", "it_mw": 3.0, "geometry": Point(LON - 0.002, LAT - 0.0015)},
            {**place, "declared_id": "d1", "geometry": Point(LON, LAT + 0.001)},
        ],
        "declared",
    )
    words = {"evidence_for": HOSTILE, "evidence_against": HOSTILE, "settles": HOSTILE, "geometry": None}
    rows: list[dict[str, object]] = []
    for k in range(n):
        row = {**words, "entry_id": f"E{k}", "rank": k + 1, "class": "undeclared", "site_id": f"S{k}"}
        rows.append({**row, "it_mw_p50": 1.0, "undeclared_flop_90d": 1e25 / (k + 1)})
    rows[0] |= {"class": "above_declared", "declared_id": "d0", "declared_it_mw": 3.0, "p_match": 0.9}
    unseen = {"entry_id": "Ed", "rank": n + 1, "class": "not_seen", "declared_id": "d1", "p_detect": 1.0}
    rows.append({**words, **unseen, "undeclared_flop_90d": 0.0})
    cell = {"imaged": 1.0, "clear_looks": 1, "screened": True, "failed": False, "reason": HOSTILE}
    looked = [{**cell, "cell": HOSTILE, "geometry": box(LON - 0.005, LAT - 0.0027, LON + 0.005, LAT + 0.0027)}]
    looked.append(
        {
            **cell,
            "cell": "t1",
            "failed": True,
            "geometry": box(LON + 0.005, LAT - 0.0027, LON + 0.01, LAT + 0.0027),
        }
    )
    rgb = np.random.default_rng(0).integers(60, 160, (3, 300, 400)).astype(np.uint8)
    valid = np.ones((300, 400), bool)
    outline = {"object_id": "o", "class": "data_center", "score": 0.9, "epistemic": 0.1, "area_m2": 1.0}
    outline |= {"on_border": False, "tile": "t", "scenes": "s", "geometry": sites.geometry[0]}
    outlines = conform([outline], "footprints")
    return ReportData(
        title=HOSTILE,
        area_name="Area",
        created="2026-11-23T12:00:00Z",
        simulated=True,
        sites=sites,
        footprints=outlines,
        declared=declared,
        ledger=conform(rows, "ledger"),
        looked_at=conform(looked, "looked_at"),
        thermal=empty("thermal"),
        thermal_looks=empty("thermal_looks"),
        not_looked_at=declared.iloc[:0],
        basemap=to_web_mercator(rgb, valid, GRID),
        chips={"S0": chip(rgb, valid, GRID, outlines, sites.geometry[0], declared=declared)},
        facts={HOSTILE: HOSTILE},
        limits=[HOSTILE],
        attribution=[HOSTILE],
    )

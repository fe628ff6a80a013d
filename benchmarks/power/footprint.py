"""(c) Footprint to power: IM3 building footprints joined by position with Epoch AI's sites.

A building of 5,000 m2 or more belongs to a site if the site's coordinates lie in it (tolerance 50 m), or if its
operator has the site's name and it is within the radius of the coordinates' precision. From the site's timeline the
latest row before `LATEST` is used that has no more finished buildings than there are such outlines, with the nearest
outlines, as many as the row has buildings. Campus outlines are not buildings and are scored separately; points have no
area and are not scored. Epoch AI's power is mostly derived from counted cooling equipment, so this measures agreement
with Epoch AI, not with a power meter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
from shapely import Point, STRtree, from_geojson
from shapely.ops import transform

from benchmarks.power.scores import crps, summary
from overwatt.models.capacity.fit_operators import LATEST
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.evidence_models import case
from overwatt.pipeline.power.fusion import fuse
from overwatt.pipeline.power.posterior import variances

SLACK_M, LEAST_M2 = 50.0, 5000.0
"""Tolerance of the coordinates; minimum area of a building (own choices)."""
REACH_M = {"building": 800.0, "site": 800.0, "street": 1500.0, "city": 3000.0}
"""Search radius for each stated precision of the coordinates (own choice)."""
_NAMES = {
    "meta": ("meta", "facebook"), "google": ("google",), "microsoft": ("microsoft",), "amazon": ("amazon", "aws"),
    "qts": ("qts", "quality technology"), "stack": ("stack",), "oracle": ("oracle",), "vantage": ("vantage",),
}  # fmt: skip


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return scores of facility power from footprint, date and operator's name, and all rows."""
    sites = pd.read_csv(folder / "epoch_site_coordinates.csv")
    timelines = pd.read_csv(folder / "epoch_data_center_timelines.csv")
    rows = timelines[(timelines["Date"] < LATEST) & (timelines["Power (MW)"] > 0)]
    rows = rows[rows["Buildings operational"] > 0].sort_values("Date")
    features = json.loads((folder / "im3_footprints.geojson").read_text(encoding="utf-8"))["features"]
    shapes = [from_geojson(json.dumps(f["geometry"])) for f in features]
    tree = STRtree(shapes)
    out, apart, without = [], [], []
    for site in sites.to_dict("records"):
        own = rows[rows["Data center"] == site["Name"]]
        if own.empty:
            without.append({"site": site["Name"], "reason": "no finished building before " + LATEST})
            continue
        found = _near(site, features, shapes, tree)
        buildings = [f for f in found if f["type"] == "building"]
        campuses = [f for f in found if f["type"] == "campus"]
        if not buildings and not campuses:
            without.append({"site": site["Name"], "reason": "no IM3 outline near its coordinates"})
            continue
        if buildings:
            own = own[own["Buildings operational"] <= len(buildings)]
            if own.empty:
                without.append({"site": site["Name"], "reason": "more finished buildings than IM3 outlines"})
                continue
        row = own.iloc[-1]
        count = int(row["Buildings operational"])
        target, used = (out, buildings[:count]) if buildings else (apart, campuses)
        owner = site["Owner"].split("#")[0].strip() if isinstance(site["Owner"], str) else None
        area = float(sum(f["area"] for f in used))
        target.append({
            "site": site["Name"], "operator": owner, "outlines": len(found),
            "buildings": count, "area_m2": round(area), "date": row["Date"], "year": int(str(row["Date"])[:4]),
            "epoch_facility_mw": float(row["Power (MW)"]),
            "kw_per_m2": round(float(1000 * row["Power (MW)"] / area), 2),
        })  # fmt: skip
    result = _scored(out, rows, seed)
    return {**result, "campus_outlines": _scored(apart, rows, seed), "not_joined": without}


def _near(
    site: dict[str, Any], features: list[dict[str, Any]], shapes: list[Any], tree: STRtree
) -> list[dict[str, Any]]:
    """Return type, area and distance of the outlines that belong to a site, nearest first."""
    lon, lat = float(site["lon"]), float(site["lat"])
    # equal-area projection centred on the site: areas and distances in metres
    local = pyproj.Transformer.from_crs("OGC:CRS84", f"+proj=laea +lat_0={lat} +lon_0={lon}", always_xy=True).transform
    words = " ".join(str(site[k]) for k in ("Name", "Owner")).lower()
    wanted = [n for key, names in _NAMES.items() if re.search(rf"\b{key}\b", words) for n in names]
    out = []
    # 0.05 degrees (4-5 km) contain the largest search radius
    for k in tree.query(Point(lon, lat).buffer(0.05)):
        shape = transform(local, shapes[k])
        about = {str(a).lower(): b for a, b in features[k]["properties"].items()}
        label = " ".join(str(about.get(a, "")) for a in ("operator", "name")).lower()
        known = any(n in label for n in wanted)
        away = shape.distance(Point(0, 0))
        reach = REACH_M.get(str(site["coord_precision"]), 0.0)
        if shape.area >= LEAST_M2 and (away <= SLACK_M or (known and away <= reach)):
            out.append({"type": str(about.get("type", "")).lower(), "area": shape.area, "away": away})
    return sorted(out, key=lambda f: (f["away"], f["area"]))


def _scored(rows: list[dict[str, Any]], every: pd.DataFrame, seed: int) -> dict[str, Any]:
    if not rows:
        return {"n": 0, "rows": []}
    y, mu, sd, alone, alone_sd = [], [], [], [], []
    for r in rows:
        found = case(SiteEvidence(r["site"], float(r["area_m2"]), operator=r["operator"]), r["year"])
        fused = fuse(found.statements)
        mu.append(np.log(fused.median * found.ratio[0]))
        sd.append(float(np.sqrt(sum(variances(found, fused, facility=True).values()))))
        y.append(np.log(r["epoch_facility_mw"]))
        # baseline without a footprint: log-normal of all other sites' power
        others = every[every["Data center"] != r["site"]].groupby("Data center").tail(1)
        ln_mw = np.log(others["Power (MW)"].to_numpy(float))
        alone.append(float(ln_mw.mean()))
        alone_sd.append(float(ln_mw.std()))
        r |= {"ours_mw": round(float(np.exp(mu[-1])), 1), "ln_sd": round(sd[-1], 3)}
    names = [r["site"] for r in rows]
    prior = summary(y, alone, alone_sd, names, seed=seed)
    scores = summary(y, mu, sd, names, seed=seed)
    return {
        **scores,
        "mean_ln_error": round(float(np.mean(np.subtract(y, mu))), 4),
        "ln_sd_about_mean": round(float(np.std(np.subtract(y, mu), ddof=1)), 4) if len(y) > 1 else None,
        "prior_alone": {"crps": prior["crps"], "ln_sd": prior["ln_sd"], "coverage_80": prior["coverage_80"]},
        "crps_over_prior": round(float(crps(np.subtract(y, mu), np.array(sd)).mean()) / float(str(prior["crps"])), 3),
        "rows": rows,
    }

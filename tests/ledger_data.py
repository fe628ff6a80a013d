"""Sites, declarations and ground of made districts, in metres about a place, for tests of the ledger."""

import math

import geopandas as gpd
import numpy as np
import shapely
from pyproj import Geod
from scipy.special import ndtri

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES, conform, empty

GEOD = Geod(ellps="WGS84")
LON0, LAT0 = -77.5, 39.0
MW_SD = 0.4


def at(x_m, y_m, lon0=LON0, lat0=LAT0):
    lon, lat, _ = GEOD.fwd(lon0, lat0, math.degrees(math.atan2(x_m, y_m)), math.hypot(x_m, y_m))
    return lon, lat


def box(x_m, y_m, width_m, height_m, **origin):
    w, h = width_m / 2, height_m / 2
    return shapely.Polygon([at(x_m + a, y_m + b, **origin) for a, b in ((-w, -h), (w, -h), (w, h), (-w, h))])


def site(name, x_m, y_m, mw, p=0.95, border=False, cooling=8, width_m=150.0, **origin):
    quantiles = {q: mw * math.exp(MW_SD * z) for q, z in zip(QUANTILE_NAMES, ndtri(QUANTILES), strict=True)}
    lon, lat = at(x_m, y_m, **origin)
    return {
        "site_id": name,
        "p_data_center": p,
        "prior": 0.3,
        "lon": lon,
        "lat": lat,
        "buildings": 1,
        "building_area_m2": width_m * 80.0,
        "cooling_objects": cooling,
        "cooling_area_m2": 40.0 * cooling,
        "on_border": border,
        "seed": 0,
        "assumptions": "test",
        **{f"it_mw_{q}": v for q, v in quantiles.items()},
        **{f"facility_mw_{q}": 1.3 * v for q, v in quantiles.items()},
        **{f"h100e_{q}": 1e3 * v for q, v in quantiles.items()},
        **{f"flop_90d_{q}": 1e24 * v for q, v in quantiles.items()},
        "geometry": box(x_m, y_m, width_m, 80.0, **origin),
    }


def decl(name, x_m, y_m, mw=None, error_m=50.0, geometry=None, **more):
    origin = {k: more.pop(k) for k in ("lon0", "lat0") if k in more}
    return {
        "declared_id": name,
        "position_error_m": error_m,
        "kind": "facility",
        "source": "test",
        "it_mw": mw,
        "geometry": geometry or shapely.Point(at(x_m, y_m, **origin)),
        **more,
    }


def sites_of(rows):
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "sites") if rows else empty("sites")


def declared_of(rows):
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "declared") if rows else empty("declared")


def looked(x0=-40_000, y0=-40_000, x1=40_000, y1=40_000, **origin):
    a, b = at(x0, y0, **origin), at(x1, y1, **origin)
    spans = [(a[0], b[0])] if a[0] < b[0] else [(a[0], 180.0), (-180.0, b[0])]
    rows = [
        {
            "cell": f"t{west}",
            "imaged": 1.0,
            "clear_looks": 1,
            "screened": True,
            "failed": False,
            "reason": "",
            "geometry": shapely.box(west, a[1], east, b[1]),
        }
        for west, east in spans
    ]
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "looked_at")


def spread(rng, n, side_m, gap_m):
    """n places in a square, none nearer than gap_m to another."""
    places = []
    while len(places) < n:
        p = rng.uniform(-side_m / 2, side_m / 2, 2)
        if all(math.dist(p, q) >= gap_m for q in places):
            places.append(tuple(p))
    return places


def by_class(ledger):
    return {
        k: list(zip(v["site_id"].fillna(""), v["declared_id"].fillna(""), strict=True))
        for k, v in ledger.groupby("class")
    }


def planted(rng, side_m=30_000.0, gap_m=5_500.0, n=10, lon0=LON0, lat0=LAT0):
    """The demo's case: S0 undeclared, D1 at a third, S2's declaration 2 km off, one ghost, the rest right."""
    o = {"lon0": lon0, "lat0": lat0}
    places = spread(rng, n + 1, side_m, gap_m)
    mw = np.exp(rng.uniform(math.log(10), math.log(150), n))
    sites = [site(f"S{k}", *places[k], mw[k], **o) for k in range(n)]
    declared = []
    for k in range(1, n):
        x, y = np.add(places[k], rng.normal(0, 50, 2))
        seen_mw = mw[k] * math.exp(rng.normal(0, 0.15))
        if k == 1:
            seen_mw = mw[k] / 3
        if k == 2:
            turn = rng.uniform(0, 2 * math.pi)
            x, y = places[k][0] + 2000 * math.cos(turn), places[k][1] + 2000 * math.sin(turn)
            seen_mw = mw[k]
        declared.append(decl(f"D{k}", x, y, seen_mw, **o))
    declared.append(decl("ghost", *places[n], 60.0, **o))
    return sites_of(sites), declared_of(declared), looked(**o)

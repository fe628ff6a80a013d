"""Which records of two registries are one facility, by rules on names, codes and places; the matcher is not used.

In: two frames with name, operator and geometry. Out: for each declaration the sites that are its facility. The rules
prefer few sure pairs: a pair needs a company in common and either a code in common ('IAD-161', 'DC1') or no other
place of that company nearby on either side.
"""

from __future__ import annotations

import re

import geopandas as gpd
import numpy as np
from scipy.spatial import cKDTree

from overwatt.aoi.geodesy import EARTH_RADIUS_M, centres, on_sphere

CODE_REACH_M = 25_000.0
"""Records with a company and a code in common are one facility within this distance: one metropolitan area."""
CAMPUS_M = 1_500.0
"""Sites of one company within this distance of each other are one campus, the usual unit of a declaration."""

_SAME = {"aws": "amazon", "vadata": "amazon", "facebook": "meta", "msft": "microsoft", "spacexai": "xai"}
_GENERIC = frozenset({
    "data", "center", "centers", "centre", "datacenter", "datacentre", "campus", "building", "phase", "site",
    "project", "service", "services", "svcs", "systems", "inc", "llc", "ltd", "corp", "corporation", "corporate",
    "company", "group", "holdings", "global", "international", "technology", "technologies", "solutions", "network",
    "networks", "office", "information", "management", "digital", "cloud", "hosting", "energy", "power", "realty",
    "properties", "property", "trust", "america", "american", "usa", "north", "south", "east", "west", "northern",
    "southern", "eastern", "western", "new", "city", "county", "the", "and", "for", "confident", "likely",
    "speculative", "real", "estate", "edge", "ave", "infrastructure", "united", "states", "enterprise",
    "enterprises", "communications", "telecom", "operations",
})  # fmt: skip
_CODE = re.compile(r"\b([a-z]{2,4})[- ]?0*(\d{1,3})\b")
_NO_CODE = frozenset({"no", "po", "rd", "st", "dr", "hwy", "mw", "ste", "us", "of", "at", "in", "unit", "bldg"})
_LEADING = 2  # words at the start of a name that may be the company; later ones are often the town


def companies(name: object, operator: object) -> frozenset[str]:
    """Return the words of operator and of the start of the name that may name a company, one spelling per company."""
    words = _words(operator) + _words(name)[:_LEADING]
    return frozenset(_SAME.get(w, w) for w in words if len(w) > 2 and w.isalpha()) - _GENERIC


def _words(text: object) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower()) if isinstance(text, str) else []


def codes(text: object) -> frozenset[tuple[str, str]]:
    """Return the site codes of a name: ('iad', '161') and ('iad', '162') of 'IAD-161/162'."""
    if not isinstance(text, str):
        return frozenset()
    found = {(a, n) for a, n in _CODE.findall(text.lower()) if a not in _NO_CODE}
    for a, first, more in re.findall(r"\b([a-z]{2,4})[- ]?(\d{1,3})((?:/\d{1,3})+)", text.lower()):
        found |= {(a, n.lstrip("0")) for n in (first, *more.split("/")) if n}
    return frozenset(found)


def pairs(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, reach_m: np.ndarray) -> dict[str, frozenset[str]]:
    """Return declared id -> ids of the sites that are its facility; declarations without a sure partner are left out.

    Args:
        sites: columns id, name, operator, geometry (lon/lat).
        declared: the same.
        reach_m: (declaration,) distance within which its place may lie.
    """
    at = [on_sphere(centres(t.geometry.to_numpy()), EARTH_RADIUS_M) for t in (sites, declared)]
    firm = [[companies(*v) for v in zip(t["name"], t["operator"], strict=True)] for t in (sites, declared)]
    code = [[codes(v) for v in t["name"]] for t in (sites, declared)]
    tree = [cKDTree(a) for a in at]
    ids = sites["id"].to_numpy(object)
    out: dict[str, frozenset[str]] = {}
    taken: dict[str, str] = {}
    for j, name in enumerate(declared["id"].tolist()):
        wide = tree[0].query_ball_point(at[1][j], max(CODE_REACH_M, reach_m[j]))
        ours = [i for i in wide if firm[0][i] & firm[1][j]]
        found = [i for i in ours if code[0][i] & code[1][j]]
        if not found:
            near = [i for i in ours if np.linalg.norm(at[0][i] - at[1][j]) <= reach_m[j]]
            rivals = [
                k for k in tree[1].query_ball_point(at[1][j], 2 * reach_m[j]) if k != j and firm[1][k] & firm[1][j]
            ]
            other = [i for i in near if {a for a, _ in code[0][i]} & {a for a, _ in code[1][j]}]
            if near and not rivals and not other and _extent(at[0][near]) <= CAMPUS_M:
                found = near
        elif _extent(at[0][found]) > CAMPUS_M:
            found = []
        for i in found:  # a site with two declarations: which of them it is cannot be told
            if (before := taken.setdefault(ids[i], name)) != name:
                out.pop(before, None)
                found = []
                break
        if found:
            out[name] = frozenset(ids[found])
    return out


def _extent(points: np.ndarray) -> float:
    return float(np.linalg.norm(points - points.mean(axis=0), axis=1).max())

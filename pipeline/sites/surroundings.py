"""What other files say of the sites: storeys and heights of their buildings, power plant beside them, their country.

In: table of sites, and the frames of a file of buildings, of power plant, of countries. Out: the sites with columns
`storeys`, `height_m`, `generators`, `substation_mva`, `country`, empty where nothing is known. Shadows are not used:
a height from one needs the time of day of the image, which the inputs do not state, and ground free of other shadows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import geopandas as gpd
import numpy as np
import pandas as pd
import pycountry
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.sites.clustering import within

STOREYS = ("storeys", "levels", "num_floors", "building:levels", "building_levels", "stories")
HEIGHT_M = ("height", "height_m", "building:height", "building_height")
"""Columns of a file of buildings: our own names, those of OpenStreetMap, Overture and Microsoft GlobalML."""
MAX_STOREYS, MAX_HEIGHT_M = 50.0, 150.0  # larger values are errors of the file and count as not known; own choice
LEAST_OVERLAP = 0.25
"""Share of a site's outline that buildings of known height must cover, so that a neighbour's edge does not count; own
choice."""
MVA = ("substation_mva", "mva", "capacity_mva", "rating")
COUNTRY = ("iso_a2_eh", "iso_a2", "country_code", "country")
"""Columns of a file of countries: ISO 3166-1 alpha-2 codes (Natural Earth's first), or names."""
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:m|meters?|metres?)?\s*", re.IGNORECASE)
_POWER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(kva|mva|gva)?\s*", re.IGNORECASE)
_FUELS = frozenset({"diesel", "gas", "oil", "biodiesel"})  # of OpenStreetMap's generator:source: no solar panels


def known_buildings(frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """Return the buildings whose storeys or height are known: `storeys`, `height_m` (NaN: not known), geometry.

    Raises:
        RegistryError: the file has neither column.
    """
    columns = {str(c).lower(): c for c in frame.columns}
    if not set(columns) & {*STOREYS, *HEIGHT_M}:
        raise RegistryError(f"{name}: no column of storeys or heights; give one of {', '.join((*STOREYS, *HEIGHT_M))}")
    shape = frame.geometry.force_2d()
    out = gpd.GeoDataFrame(
        {"storeys": _first(frame, columns, STOREYS, MAX_STOREYS),
         "height_m": _first(frame, columns, HEIGHT_M, MAX_HEIGHT_M)},
        geometry=shape.where(shape.is_valid, shape.make_valid()).to_numpy(), crs=frame.crs,
    )  # fmt: skip
    areal = out.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy()
    return out[areal & out[["storeys", "height_m"]].notna().any(axis=1).to_numpy()].reset_index(drop=True)


def power_plant(frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """Return substations and generators that burn fuel: `kind`, `mva` (NaN: not stated), geometry.

    Raises:
        RegistryError: the file has no column that says what each row is.
    """
    columns = {str(c).lower(): c for c in frame.columns}
    what = next((columns[c] for c in ("power", "class", "kind") if c in columns), None)
    if what is None:
        raise RegistryError(f"{name}: no column 'power' (substation or generator), as OpenStreetMap has it")
    kind = frame[what].astype("string").str.strip().str.lower().fillna("").to_numpy(object)
    fuel = next((frame[columns[c]] for c in ("generator:source", "generator_source") if c in columns), None)
    burns = pd.Series("", frame.index) if fuel is None else fuel.astype("string").str.lower().fillna("")
    mva = np.full(len(frame), np.nan)
    for column in reversed([c for c in MVA if c in columns]):
        stated = [_mva(v, needs_unit=column == "rating") for v in frame[columns[column]]]
        mva = np.where(np.isnan(stated), mva, stated)
    out = gpd.GeoDataFrame({"kind": kind, "mva": mva}, geometry=frame.geometry.to_numpy(), crs=frame.crs)
    fuelled = np.array([bool(_FUELS & set(re.split(r"[;,\s]+", str(b)))) for b in burns], bool)
    placed = (out.geometry.notna() & ~out.geometry.is_empty).to_numpy()
    keep = placed & ((kind == "substation") | ((kind == "generator") & fuelled))
    return out[keep].reset_index(drop=True)


def countries(frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    """Return the outlines of countries: `country` (ISO 3166-1 alpha-2), geometry.

    Raises:
        RegistryError: the file has no column of countries, or no country in it is known.
    """
    columns = {str(c).lower(): c for c in frame.columns}
    found = [columns[c] for c in COUNTRY if c in columns]
    if not found:
        raise RegistryError(f"{name}: no column of countries; give one of {', '.join(COUNTRY)}, with ISO 3166 codes")
    code = pd.Series(pd.NA, frame.index, dtype="string")
    for column in found:
        code = code.fillna(frame[column].map(country_code).astype("string"))
    usable = code.notna() & frame.geom_type.isin(["Polygon", "MultiPolygon"])
    if not usable.any():
        raise RegistryError(f"{name}: no outline with a country; give ISO 3166 codes of two letters in '{found[0]}'")
    out = gpd.GeoDataFrame({"country": code[usable]}, geometry=frame.geometry[usable].to_numpy(), crs=frame.crs)
    return out.reset_index(drop=True)


def country_code(value: object) -> str | None:
    """Return the ISO 3166-1 alpha-2 code of a code or a name of a country; None if it is neither."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        return str(pycountry.countries.lookup(text).alpha_2) if text else None
    except LookupError:
        return None


def with_buildings(sites: gpd.GeoDataFrame, buildings: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the sites with `storeys` and `height_m`: means of the buildings that overlap, weighted by the overlap.

    Not known where buildings of known height cover less than `LEAST_OVERLAP` of the site.

    Args:
        sites: with geometry, WGS84.
        buildings: of `known_buildings`.
    """
    shapes, own = buildings.geometry.to_numpy(), sites.geometry.to_numpy()
    at, of = shapely.STRtree(shapes).query(own, predicate="intersects")
    # degrees squared: within one site all overlaps are scaled alike
    overlap = shapely.area(shapely.intersection(own[at], shapes[of]))
    out = {}
    for column in ("storeys", "height_m"):
        value = buildings[column].to_numpy(float)[of]
        weight = np.where(np.isnan(value), 0.0, overlap)
        total = np.bincount(at, weight, len(sites))
        enough = total >= LEAST_OVERLAP * np.maximum(shapely.area(own), 1e-12)
        mean = np.bincount(at, weight * np.nan_to_num(value), len(sites)) / np.where(enough, total, np.nan)
        out[column] = np.round(mean, 6)  # the order of the rows of the file must not matter
    return sites.assign(**out)


def with_power_plant(sites: gpd.GeoDataFrame, plant: gpd.GeoDataFrame, reach_m: float) -> gpd.GeoDataFrame:
    """Return the sites with `generators` (number) and `substation_mva`; each goes to the nearest site within reach.

    The substations' capacity is known only if each of them states it: else it would be no upper limit.

    Args:
        sites: with geometry, WGS84.
        plant: of `power_plant`.
        reach_m: largest distance, m, outline to outline.
    """
    left, right, away = within(plant.geometry.to_numpy(), sites.geometry.to_numpy(), reach_m)
    order = np.lexsort((right, away, left))
    first = order[np.unique(left[order], return_index=True)[1]] if len(left) else order
    row, owner = left[first], right[first]
    generator = (plant["kind"] == "generator").to_numpy(bool)[row]
    count = np.bincount(owner[generator], minlength=len(sites))
    stations, n = plant["mva"].to_numpy(float)[row][~generator], owner[~generator]
    total = np.bincount(n, stations, len(sites))  # NaN where one is not stated
    some = np.bincount(n, minlength=len(sites)) > 0
    return sites.assign(
        generators=pd.array([int(k) or None for k in count], dtype="Int64"),
        substation_mva=np.where(some & (total > 0), total, np.nan),
    )


def with_country(
    sites: gpd.GeoDataFrame, country: str | None, outlines: gpd.GeoDataFrame | None = None
) -> gpd.GeoDataFrame:
    """Return the sites with `country`: that of the outline around the site's point, else `country`."""
    code = np.full(len(sites), country, object)
    if outlines is not None and len(sites):
        points = shapely.points(sites["lon"].to_numpy(float), sites["lat"].to_numpy(float))
        at, of = shapely.STRtree(outlines.geometry.to_numpy()).query(points, predicate="intersects")
        # of several the first in the file
        for i, j in sorted(zip(at.tolist(), of.tolist(), strict=True), reverse=True):
            code[i] = outlines["country"].iloc[j]
    return sites.assign(country=pd.array(code, dtype="string"))


def _first(frame: gpd.GeoDataFrame, columns: dict[str, object], names: Iterable[str], most: float) -> np.ndarray:
    """Return the first known number of each row in these columns, (n,) float64, NaN where none is possible."""
    out = np.full(len(frame), np.nan)
    for name in reversed([n for n in names if n in columns]):
        value = np.array([_number(v) for v in frame[columns[name]]], float)
        value[~((value > 0) & (value <= most))] = np.nan  # -1 is "not known" in GlobalML
        out = np.where(np.isnan(value), out, value)
    return out


def _number(value: object) -> float:
    if isinstance(value, int | float | np.number):
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) if found else np.nan


def _mva(value: object, *, needs_unit: bool) -> float:
    """Return MVA of a number or of text such as '40 MVA'; NaN if it is neither."""
    found = _POWER.fullmatch(str(value))
    if not found or (needs_unit and not found[2]):
        return np.nan
    return float(found[1]) * {"k": 1e-3, "m": 1.0, "g": 1e3}[(found[2] or "mva")[0].lower()]

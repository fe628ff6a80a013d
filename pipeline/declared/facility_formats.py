"""Registries of facilities in their own layouts: IM3, EPA ECHO, Epoch AI, PeeringDB, cloud regions.

In: `Received`. Out: each reader returns a frame with the columns of table `declared`, `row` (counted from 1) and
`usual_error_m` (position error of rows that state none, m); one function in `registry` then validates all layouts the
same way. `fault` holds why a row is rejected, `left_out` why a correct row is not used. `reliability` is the share of a
source's rows that are right about place and identity. Nobody publishes it, so each value is an own choice with its
reason next to it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import outline_m2
from overwatt.aoi.outline import repaired
from overwatt.pipeline.declared.osm import LICENCE as OSM_LICENCE
from overwatt.pipeline.declared.parsing import CAMPUS_ERROR_SHARE, as_number, as_text, digits_error_m
from overwatt.pipeline.declared.received import FAULT, Received, require
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

RELIABILITY = {
    "im3": 0.95,  # outlines checked by hand at a national laboratory
    "epa": 0.8,  # real permits, but some rows of the industry code are offices or plants of other industries
    "epoch": 0.95,  # each site researched from documents and images
    "peeringdb": 0.9,  # maintained by the operators; geocoded from the address
    "cloud_regions": 0.9,  # published by the operators; gives the city, not the site
}
EPOCH_ERROR_M = {
    "building": POSITION_ERROR_M["rooftop"],
    "site": POSITION_ERROR_M["parcel"],
    "street": 500.0,  # a point on a street about 1 km long: between parcel and postcode; own choice
    "city": POSITION_ERROR_M["city"],
    "county": POSITION_ERROR_M["vague"],
}
EPOCH_FILES = {"where": "epoch_site_coordinates.csv", "what": "epoch_data_centers.csv"}
EPOCH_LICENCE = "CC BY 4.0, Epoch AI"
_M2_PER_SQFT = 0.09290304  # exact, international foot
_PEERINGDB_STATUS = {"ok": "operational", "pending": "planned", "deleted": "closed"}


def im3(given: Received) -> pd.DataFrame:
    """Read IM3 data center footprints; a campus with mapped buildings is left out in favour of these.

    IM3 maps some campuses twice, as land and as buildings. Keeping both would declare one facility twice. Land without
    buildings is kept, because nothing else declares it.

    Raises:
        RegistryError: a column of IM3 is missing.
    """
    frame = given.table
    if missing := {"type", "sqft", "name", "operator", "geometry"} - set(frame.columns):
        raise RegistryError(
            f"registry '{given.name}' is not IM3: column '{min(missing)}' is missing; use format generic"
        )
    whole = frame["geometry"].to_numpy(object)
    geometry = np.array([g if g is None else repaired(g) for g in whole], dtype=object)
    campus = (frame["type"] == "campus").to_numpy(bool)
    inside = shapely.point_on_surface(geometry[(frame["type"] == "building").to_numpy(bool)])
    holders = shapely.STRtree(geometry[campus]).query(inside, predicate="within")[1]
    kept = np.ones(len(frame), bool)
    kept[np.flatnonzero(campus)[np.unique(holders)]] = False
    row = np.arange(1, len(frame) + 1)
    area = np.array([_square_metres(s) for s in frame["sqft"]])
    # side of a square of the campus' area, m; zero for buildings
    side = [math.sqrt(a if a > 0 else outline_m2(g) if g is not None else 0.0) if c else 0.0
            for a, g, c in zip(area, whole, campus, strict=True)]  # fmt: skip
    out = pd.DataFrame(
        {
            "row": row,
            "declared_id": [f"im3-{n}" for n in row],
            "geometry": whole,
            "name": frame["name"],
            "operator": frame["operator"],
            "area_m2": np.where(frame["type"] != "point", area, np.nan),
            "usual_error_m": np.maximum(POSITION_ERROR_M["rooftop"], CAMPUS_ERROR_SHARE * np.array(side)),
            "zone": [_us_state(s) for s in frame.get("state_abb", pd.Series([None] * len(frame)))],
            "source": "IM3 data center footprints",
            "licence": f"{OSM_LICENCE}; IM3 / Pacific Northwest National Laboratory",
            "reliability": RELIABILITY["im3"],
        }
    )
    out["left_out"] = [None if k else "a campus whose buildings are rows of their own" for k in kept.tolist()]
    return out


def _square_metres(sqft: object) -> float:
    try:
        return float(str(sqft)) * _M2_PER_SQFT
    except ValueError:
        return math.nan


def _us_state(code: object) -> str | None:
    text = as_text(code)
    return f"US-{text.upper()}" if text and re.fullmatch(r"[A-Za-z]{2}", text) else None


def epa(given: Received) -> pd.DataFrame:
    """Read an answer of EPA ECHO: air permits, mostly of backup generators, so kind `power`; no MW is stated."""
    facilities = given.rows("Results.Facilities", "an ECHO answer")
    places = [
        (as_text(facility.get("FacLon") or facility.get("FacLong")), as_text(facility.get("FacLat")))
        for facility in facilities
    ]
    shared = pd.Series(places, dtype=object).duplicated(keep=False).tolist()
    return pd.DataFrame(
        [
            {
                "row": n,
                "declared_id": facility.get("RegistryID"),
                "lon": lon,
                "lat": lat,
                "name": facility.get("AIRName") or facility.get("FacName"),
                "kind": "power",
                # several addresses at one coordinate: it is the centre of a postcode area or a town
                "usual_error_m": max(POSITION_ERROR_M["postcode" if many else "parcel"], digits_error_m(lon, lat)),
                "zone": _us_state(facility.get("AIRState") or facility.get("FacState")),
                "source": "US EPA ECHO, air permits",
                "licence": "US government work, public domain",
                "reliability": RELIABILITY["epa"],
            }
            for n, (facility, (lon, lat), many) in enumerate(zip(facilities, places, shared, strict=True), start=1)
        ]
    )


def epoch(given: Received) -> pd.DataFrame:
    """Read Epoch AI's data centers; its "Current power (MW)" is IT power, 0 means that nothing operates yet.

    Coordinates and power are in two files, or in one that has both.

    Raises:
        RegistryError: one of the two files, or one of their columns, is missing.
    """
    own = given.table
    names = {str(c).strip().casefold() for c in own.columns}
    if not {"lon", "lat"} <= names:  # in one file with the power they are written out
        long = {str(c).strip().casefold(): c for c in own.columns}
        own = own.rename(columns={long[w]: s for w, s in (("longitude", "lon"), ("latitude", "lat")) if w in long})
        names = {str(c).strip().casefold() for c in own.columns}
    has = {"where": {"lon", "lat"} <= names, "what": "current power (mw)" in names}
    tables = {key: (given.name, own) if has[key] else (name, given.beside.get(name))
              for key, name in EPOCH_FILES.items()}  # fmt: skip
    (place_file, places), (power_file, powers) = tables["where"], tables["what"]
    if places is None or powers is None:
        raise RegistryError(
            f"registry '{given.name}': '{place_file if places is None else power_file}' must be in the same folder "
            "(coordinates and power are in two files)"
        )
    sites = _records(require(place_file, places, ("Name", "lon", "lat"), ("coord_precision", "Owner", "Country")))
    what = _records(require(power_file, powers, ("Name", "Current power (MW)")))
    notes: list[str] = []
    if places is not powers:
        what = _same_names(sites, what, (place_file, power_file), notes)
    out = pd.DataFrame(
        [_epoch_site(r, n, p, given.name) for n, (r, p) in enumerate(zip(sites, what, strict=True), start=1)]
    )
    out.attrs["notes"] = tuple(notes)
    return out


def _same_names(
    sites: list[dict[str, Any]], powers: list[dict[str, Any]], files: tuple[str, str], notes: list[str]
) -> list[dict[str, Any]]:
    """Return for each site the row of the same name in the file of powers, with a fault if there are several.

    Names are compared without case and outer blanks. Rows without a partner are told in `notes`.
    """
    place_file, power_file = files
    named: dict[str | None, list[dict[str, Any]]] = {}
    for row in powers:
        named.setdefault(_name(row), []).append(row)
    out = []
    for site in sites:
        found = named.get(_name(site)) or [{}]
        several = f"registry '{power_file}': {len(found)} rows are named '{str(site['Name'])[:60]}'; keep one"
        out.append(found[0] if len(found) == 1 else {FAULT: several})
    own = {_name(site) for site in sites}
    for file, lone, other, lack in (
        (place_file, [s["Name"] for s in sites if _name(s) not in named], power_file, "power and status are unknown"),
        (power_file, [p["Name"] for p in powers if _name(p) not in own], place_file, "nothing is declared there"),
    ):
        if lone:
            listed = ", ".join(f"'{str(name)[:60]}'" for name in lone[:5])
            n = f"{len(lone)} site{' has' if len(lone) == 1 else 's have'}"
            notes.append(f"registry '{file}': {n} no row of that name in '{other}', so {lack}: {listed}")
    return out


def _name(row: dict[str, Any]) -> str | None:
    text = as_text(row["Name"])
    return text and text.casefold()


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]


def _epoch_site(row: dict[str, Any], n: int, power: dict[str, Any], source: str) -> dict[str, Any]:
    out = {
        "row": n,
        "declared_id": row["Name"],
        "lon": row["lon"],
        "lat": row["lat"],
        "name": row["Name"],
        "operator": str(row.get("Owner") or "").split(" #")[0],
        # without a stated precision the digits of the coordinates tell
        "usual_error_m": EPOCH_ERROR_M.get(row["coord_precision"], POSITION_ERROR_M["vague"])
        if "coord_precision" in row
        else max(POSITION_ERROR_M["parcel"], digits_error_m(row["lon"], row["lat"])),
        "zone": row.get("Country"),
        "source": "Epoch AI, frontier data centers",
        "licence": EPOCH_LICENCE,
        "reliability": RELIABILITY["epoch"],
        "fault": next((f for f in (row.get(FAULT), power.get(FAULT)) if isinstance(f, str)), None),
    }
    try:
        mw = as_number(power.get("Current power (MW)"), source, n, "Current power (MW)")
    except RegistryError as error:
        return out | {"fault": out["fault"] or str(error)}
    return out | {"it_mw": mw or None, "status": None if mw is None else "construction" if mw == 0 else "operational"}


def peeringdb(given: Received) -> pd.DataFrame:
    """Read an answer of GET https://www.peeringdb.com/api/fac: {"data": [...]}; rows may lack coordinates.

    Fields are documented there. The status is that of the record (ok, pending, deleted); its date is not used.
    Coordinates are geocoded from the address: error of a parcel, or of a city if there is no street.
    """
    listed = isinstance(given.content, list)
    rows = (replace(given, content={"data": given.content}) if listed else given).rows("data", "a PeeringDB answer")
    return pd.DataFrame(
        [
            {
                "row": n,
                "declared_id": None if row.get("id") is None else f"fac/{row['id']}",
                "lon": row.get("longitude"),
                "lat": row.get("latitude"),
                "name": row.get("name"),
                "operator": row.get("org_name"),
                "status": _PEERINGDB_STATUS.get(str(row.get("status")), row.get("status")),
                "usual_error_m": max(
                    POSITION_ERROR_M["parcel" if as_text(row.get("address1")) else "city"],
                    digits_error_m(row.get("longitude"), row.get("latitude")),
                ),
                "zone": _peeringdb_zone(row),
                "source": "PeeringDB",
                "licence": "PeeringDB, acceptable use policy",
                "reliability": RELIABILITY["peeringdb"],
            }
            for n, row in enumerate(rows, start=1)
        ]
    )


def _peeringdb_zone(row: dict[str, Any]) -> str | None:
    country, state = as_text(row.get("country")), as_text(row.get("state"))
    return f"{country}-{state}" if country == "US" and state and len(state) == 2 else country


def cloud_regions(given: Received) -> pd.DataFrame:
    """Read cloud regions, {"regions": [{provider, name, label, lat, lng}]}; each is a city, not a building."""
    rows = given.rows("regions", "a list of cloud regions")
    attribution = as_text(given.content.get("attribution")) if isinstance(given.content, dict) else None
    return pd.DataFrame(
        [
            {
                "row": n,
                "declared_id": f"{as_text(row.get('provider'))}/{as_text(row.get('name'))}",
                "lon": row.get("lng"),
                "lat": row.get("lat"),
                "name": " ".join(filter(None, (as_text(row.get("name")), as_text(row.get("label"))))),
                "operator": row.get("provider"),
                "status": "operational",  # the list has only regions that are generally available
                "usual_error_m": POSITION_ERROR_M["city"],
                "source": "cloud regions",
                "licence": attribution,
                "reliability": RELIABILITY["cloud_regions"],
            }
            for n, row in enumerate(rows, start=1)
        ]
    )

"""Declarations of chips and of training runs: Epoch AI's GPU clusters, chip quantities and notable models.

In: `Received`. Out: frames like those of `facility_formats`. Chips and workloads need no place: rows without one get an
empty point and count in balances only. Tables of transfers (seller, buyer, chip, quantity, date, destination) and of
reported runs need no reader here: `generic` knows their columns.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared.facility_formats import EPOCH_ERROR_M, EPOCH_FILES, EPOCH_LICENCE
from overwatt.pipeline.declared.names import plain, similarity
from overwatt.pipeline.declared.parsing import as_number, as_text
from overwatt.pipeline.declared.received import FAULT, Received, require
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

CERTAINTY = {"Confirmed": 0.95, "Likely": 0.7, "Unlikely": 0.1}
"""Reliability by Epoch's statement on whether a cluster exists; Epoch gives no probabilities, own choice."""

CONFIDENCE = {"Confident": 0.9, "Likely": 0.7, "Speculative": 0.4}
"""Reliability by Epoch's confidence in a model's compute: 'Confident' is a factor 3 at 90%; others own choice."""

_SAME_ADDRESS, _SAME_SITE = 0.9, 0.9  # similarity of addresses, and of names, that are the same; own choice
_DMS = re.compile(
    r"(\d{1,3})°\s*(?:(\d{1,2})['′]\s*)?(?:([\d.]{1,12})[\"″]\s*)?([NS])[,\s]+"
    r"(\d{1,3})°\s*(?:(\d{1,2})['′]\s*)?(?:([\d.]{1,12})[\"″]\s*)?([EW])"
)
_DECIMAL = re.compile(r"(-?\d{1,2}\.\d{3,})\s*,\s*(-?\d{1,3}\.\d{3,})")
_NUMBERED = re.compile(r"\d+ \w")
_Sites = list[dict[str, Any]]


def gpu_clusters(given: Received) -> pd.DataFrame:
    """Read Epoch AI's GPU clusters as kind `chips`.

    Power is facility power: Epoch's calculated value is chips x TDP x 1.82 x PUE (docs/methods.md, section 1.1;
    700,000 GB200 of 1.2 kW and PUE 1.1 give its 1,682 MW). `valid_from` is the first operational date, for a planned
    cluster the planned one. A cluster that was superseded by its next phase is valid until that phase began, because
    the phase counts its chips again. Rows that Epoch marks as possible duplicates are rejected. The position is the
    coordinates in column Location, else the site of `epoch_site_coordinates.csv` (in the same folder) with the same
    address or name.

    Raises:
        RegistryError: a column is missing.
    """
    frame = require(
        given.name, given.table, ("Name", "Status", "Certainty", "Chip type (primary)", "First Operational Date"),
        ("Location", "Possible Duplicate", "Possible Duplicate Of", "Total number of AI chips", "Superseded by",
         "Chip quantity (primary)", "Owner", "Power Capacity (MW)", "Decommissioned Date (if applicable)", "Country"),
    )  # fmt: skip
    rows = frame.to_dict("records")
    again = frame["Name"].duplicated(keep=False).tolist()
    begins = dict(zip(frame["Name"], frame["First Operational Date"], strict=True))
    sites, found = _sites(given), dict[tuple[Any, ...], Any]()
    out = []
    for n, row in enumerate(rows, start=1):
        key = tuple(as_text(row.get(c)) for c in ("Location", "Name"))
        if key not in found:
            found[key] = _place(key[0], key[1], sites)
        lon, lat, error_m = found[key]
        fault, left_out = row.get(FAULT), None
        if row.get("Possible Duplicate") == "True":
            of = as_text(row.get("Possible Duplicate Of"))
            left_out = f"Epoch marks it as a possible duplicate{f' of {of[:80]}' if of else ''}"
        try:
            chips = [
                as_number(row.get(c), given.name, n, c) for c in ("Total number of AI chips", "Chip quantity (primary)")
            ]
        except RegistryError as error:
            chips, fault = [None], fault or str(error)
        out.append(
            {
                "row": n,
                "declared_id": f"{row['Name']} #{n}" if again[n - 1] else row["Name"],
                "lon": lon,
                "lat": lat,
                "usual_error_m": error_m,
                "name": row["Name"],
                "operator": row.get("Owner"),
                "kind": "chips",
                "facility_mw": row.get("Power Capacity (MW)"),
                "status": row["Status"],
                "valid_from": row["First Operational Date"],
                "valid_to": as_text(row.get("Decommissioned Date (if applicable)"))
                or begins.get(row.get("Superseded by")),
                "zone": row.get("Country"),
                "chip": row["Chip type (primary)"],
                "chips": next((c for c in chips if c is not None), None),
                "reliability": CERTAINTY.get(row["Certainty"]),
                "source": "Epoch AI, GPU clusters",
                "licence": EPOCH_LICENCE,
                "fault": fault,
                "left_out": left_out,
            }
        )
    return pd.DataFrame(out)


def chip_quantities(given: Received) -> pd.DataFrame:
    """Read Epoch AI's chips by data center and date as kind `chips`.

    Positions are those of `epoch_site_coordinates.csv` in the same folder.

    Raises:
        RegistryError: a column is missing.
    """
    frame = require(given.name, given.table, ("Data center", "Date", "Chip type", "Number of Units"),
                    ("Handle", "Owner", "Number of Units source"))  # fmt: skip
    site_of = {s["Name"]: s for s in _sites(given)}
    out = []
    for n, row in enumerate(frame.to_dict("records"), start=1):
        site = site_of.get(row["Data center"], {})
        out.append(
            {
                "row": n,
                "declared_id": row.get("Handle") or f"{row['Data center']} #{n}",
                "lon": site.get("lon"),
                "lat": site.get("lat"),
                "usual_error_m": EPOCH_ERROR_M.get(site.get("coord_precision", ""), POSITION_ERROR_M["vague"]),
                "name": row["Data center"],
                "operator": str(row.get("Owner") or "").split(" #")[0],
                "kind": "chips",
                "valid_from": row["Date"],
                "zone": site.get("Country"),
                "chip": row["Chip type"],
                "chips": row["Number of Units"],
                # the site is researched, so only the number is uncertain: estimated or as reported; own choice
                "reliability": 0.7 if row.get("Number of Units source") == "Estimate" else 0.9,
                "source": "Epoch AI, chip quantities",
                "licence": EPOCH_LICENCE,
                "fault": row.get(FAULT),
            }
        )
    return pd.DataFrame(out)


def notable_models(given: Received) -> pd.DataFrame:
    """Read Epoch AI's notable models as kind `workload`: FLOP, organisation, hardware; published on `valid_from`.

    The training run ended before that day. Its place is not stated, so the point is empty. The zone is the country of
    the organisation, not of the site.

    Raises:
        RegistryError: a column is missing.
    """
    frame = require(given.name, given.table, ("Model", "Publication date", "Training compute (FLOP)"),
                    ("Organization", "Country (of organization)", "Training hardware", "Hardware quantity",
                     "Confidence"))  # fmt: skip
    get = frame.get
    empty = pd.Series([""] * len(frame), index=frame.index)
    return pd.DataFrame(
        {
            "row": range(1, len(frame) + 1),
            "declared_id": frame["Model"],
            "name": frame["Model"],
            "operator": get("Organization", empty),
            "kind": "workload",
            "training_flop": frame["Training compute (FLOP)"],
            "valid_from": frame["Publication date"],
            "zone": get("Country (of organization)", empty),
            "chip": get("Training hardware", empty),
            "chips": get("Hardware quantity", empty),
            "reliability": get("Confidence", empty).map(CONFIDENCE).astype("float64"),
            "source": "Epoch AI, notable models",
            "licence": EPOCH_LICENCE,
            "fault": get(FAULT, empty),
        }
    )


def _sites(given: Received) -> _Sites:
    """Return the readable rows of Epoch's site coordinates, none if the file is not in the folder of the registry."""
    name = EPOCH_FILES["where"]
    if name not in given.beside:
        return []
    frame = require(name, given.beside[name], ("Name", "lon", "lat", "coord_precision"), ("Address", "Country"))
    rows = [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]
    return [r for r in rows if not isinstance(r.get(FAULT), str)]


def _place(location: str | None, name: str | None, sites: _Sites) -> tuple[str | None, str | None, float]:
    """Return lon, lat (degrees, as text) and 1-sigma error, m, of a cluster; None, None if it cannot be located."""
    if location and (at := _coordinates(location)):
        return f"{at[0]:.6f}", f"{at[1]:.6f}", POSITION_ERROR_M["parcel"]
    for site in sites:
        address = as_text(site.get("Address"))
        same = bool(location and address and _NUMBERED.search(location)) and (
            similarity(plain(location), plain(address)) >= _SAME_ADDRESS
        )
        if same or (name and similarity(plain(name), plain(site["Name"])) >= _SAME_SITE and _specific(site["Name"])):
            return site["lon"], site["lat"], EPOCH_ERROR_M.get(site["coord_precision"], POSITION_ERROR_M["vague"])
    return None, None, POSITION_ERROR_M["vague"]


def _specific(name: str) -> bool:
    """Whether a name has two words or more: single words ('Alpha') match by chance."""
    return len(plain(name).split()) >= 2


def _coordinates(text: str) -> tuple[float, float] | None:
    """Return lon, lat in degrees from degrees-minutes-seconds or decimal text; None if there are none or only zeros."""
    if match := _DMS.search(text):
        parts = match.groups()
        lat, lon = (
            (float(d) + float(m or 0) / 60 + float(s.strip(".") or 0 if s else 0) / 3600) * (-1 if side in "SW" else 1)
            for d, m, s, side in (parts[:4], parts[4:])
        )
    elif match := _DECIMAL.search(text):
        lat, lon = float(match[1]), float(match[2])
    else:
        return None
    return (lon, lat) if abs(lat) <= 90 and abs(lon) <= 180 and not math.isclose(abs(lat) + abs(lon), 0) else None

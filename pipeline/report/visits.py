"""One page per visit, to print or to save as PDF: where to go, why, and the fields to fill in by hand.

In: `VisitsData`, rows of the inspection list with the tables around them and pictures that are already cut. Out: the
text of one self-contained HTML page with one sheet of A4 per place. Nothing may run over to a second sheet, so each
text has a budget of lines, and what is beyond it is counted and left to the report. Outlines differ by line, not by
colour alone, for prints in black and white. All texts are untrusted; the template escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import geopandas as gpd
import jinja2
import pandas as pd

from overwatt.pipeline.report import wording
from overwatt.pipeline.report.fitting import CLAUSE, SENTENCE, bullets, fitted
from overwatt.pipeline.report.inlined import digest, inline, read
from overwatt.pipeline.report.visit_views import Row, View, declared_place, drawn, is_cell, neighbours
from overwatt.pipeline.tables import empty

CELL_LABEL = {
    "nothing found": ("Empty cell", "the cell was looked at, and nothing on the list is in it"),
    "not looked at": ("Cell not looked at", "the imagery says nothing of this cell"),
}
"""Classes of drawn cells in words: label and meaning."""
_CLASSES = {c: (label, wording.CLASS_MEANING[c]) for c, label in wording.CLASS_LABEL.items()} | CELL_LABEL
_DRAWN = "None: the plan draws cells too, so that an empty place is not a safe one."
_AT_RANDOM = "The plan draws at random, also where nothing speaks for a visit, so that no class of places is safe."
_RESTS_ON = {
    "it_mw": "a capacity, not a use",  # preceded by the areas
    "facility_mw": "IT power times the ratio of facility to IT power at peak, 1.17 to 1.52",
    "h100e": "IT power; the share of it that feeds accelerators cannot be seen",
    "flop_90d": "H100 equivalents, utilisation, dense BF16; the sum of all these errors",
}
_QUANTITY = {
    "it_mw": "IT power, MW", "facility_mw": "Facility power at peak, MW", "h100e": "H100 equivalents",
    "flop_90d": "Training FLOP in 90 days",
}  # fmt: skip


@dataclass(frozen=True)
class VisitsData:
    """Content of the pages.

    Attributes:
        title: of the run.
        places: rows of the inspection list to visit, in order; one page each.
        listed: all rows of the inspection list, for the neighbours on the maps.
        views: map and chip by entry_id, from `views_of`.
        chosen: sentence on how the places were chosen.
        findings: finding -> its meaning; the boxes to tick.
        looked_at: table `looked_at`; may be empty.
        footprints: table `footprints`; may be empty.
        declared: table `declared`; may be empty.
        pictures: JPEG bytes by view, cut by `rasters.chip` without furniture.
        imagery: why there are no pictures, '' if there are.
        image_date: of the run's imagery, '' if not stated.
        simulated: whether the run is simulated.
        attribution: of imagery and registries.
    """

    title: str
    places: gpd.GeoDataFrame
    listed: gpd.GeoDataFrame
    views: Mapping[str, tuple[View, View]]
    chosen: str
    findings: Mapping[str, str]
    looked_at: gpd.GeoDataFrame = field(default_factory=lambda: empty("looked_at"))
    footprints: gpd.GeoDataFrame = field(default_factory=lambda: empty("footprints"))
    declared: gpd.GeoDataFrame = field(default_factory=lambda: empty("declared"))
    pictures: Mapping[View, bytes] = field(default_factory=dict)
    imagery: str = ""
    image_date: str = ""
    simulated: bool = False
    attribution: Sequence[str] = ()


def render_visits(data: VisitsData) -> str:
    """Return the pages as one self-contained HTML text; the same data give the same text."""
    style = inline(read("visits.css"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # no script at all, and nothing from a network
    policy = f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {digest(style)}"
    rows = [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in data.places.drop(columns="geometry").to_dict("records")
    ]
    visits = [_visit(data, row) for row in rows]
    template = environment.from_string(read("visits.html.j2"))
    credit = fitted(". ".join(data.attribution), 2, 150)
    return template.render(policy=policy, style=style, data=data, visits=visits, title=fitted(data.title, 1, 60),
                           credit=credit)  # fmt: skip


def _visit(data: VisitsData, row: Row) -> Row:
    """Values of one page; each text is short enough for its place on it."""
    get = row.get
    cell = is_cell(row)
    label, meaning = _CLASSES.get(str(get("class")), (fitted(str(get("class")), 1), ""))
    name = str(get("name") or "")
    views = data.views.get(str(row["entry_id"]))
    error_m, lon, lat = get("position_sigma_m"), get("lon"), get("lat")
    return {
        "entry_id": fitted(str(row["entry_id"]), 1, 40),
        "rank": get("rank") or ("none: not an entry" if cell else "none: almost listed"),
        "reason": _reason(row, cell),
        "stated": declared_place(data, row) if get("class") == "position_mismatch" else None,
        "cell": cell,
        "label": label,
        "meaning": meaning,
        "asked": "The visit is a check."
        if cell or get("class") == "matched" or get("rank") is None
        else "A question to be settled, not a finding.",
        "name": "" if name == str(row["entry_id"]) else fitted(name, 1, 64),
        "degrees": ["not stated"] if lat is None or lon is None else [f"{lat:.5f}", f"{lon:.5f}"],
        "minutes": [] if lat is None or lon is None else [_minutes(lat, "NS"), _minutes(lon, "EW")],
        "error": "none: the whole cell"
        if cell
        else "not stated"
        if error_m is None
        else f"{wording.distance(error_m)} (1 sigma)",
        "image_date": "no image"
        if get("class") == "not looked at"
        else fitted(str(get("image_date") or data.image_date or "not stated"), 1, 19),
        "p": None if get("p_data_center") is None else wording.probability(row["p_data_center"]),
        "prior": "not stated" if get("prior") is None else wording.share(row["prior"]),
        "declared": _inside(data, row) if cell else _declared(row),
        "seen": get("site_id") is not None,
        "estimates": [] if cell else _estimates(row),
        "evidence": [
            (title, *bullets(wording.evidence(str(text)) if text else "", split))
            for title, column, split in (
                ("Evidence for", "evidence_for", SENTENCE),
                ("Evidence against", "evidence_against", SENTENCE),
                ("What would settle it", "settles", CLAUSE),
            )
            for text in [get(column) or (_DRAWN if cell and column == "evidence_for" else "")]
        ],
        "map": None if views is None else drawn(data, row, views[0], whole=True),
        "chip": None if views is None else drawn(data, row, views[1], whole=False),
        "neighbours": "" if views is None else neighbours(data, row),
        "probability": get("inspection_probability"),
    }


def _reason(row: Row, cell: bool) -> str:
    """Why a place is visited although nothing on the list asks for it, in one sentence; '' if something does."""
    if row.get("drawn") is not True or cell or (row.get("next_step") != "none" and row.get("rank") is not None):
        return ""
    off = "" if row.get("rank") is not None else f" {wording.LEFT_OUT.get(str(row.get('left_out')), '')}".rstrip()
    return f"{'Almost listed.' if off else 'Next step: nothing yet.'}{off} {_AT_RANDOM}"


def _minutes(value: float, signs: str) -> str:
    """Degrees and decimal minutes, such as 45° 00.085′ N; 0.001′ is 2 m."""
    thousandths = round(abs(value) * 60_000)
    return f"{thousandths // 60_000}° {thousandths % 60_000 / 1000:06.3f}′ {signs[value < 0]}"


def _declared(row: Row) -> str:
    """What was declared, in one sentence."""
    if row.get("declared_id") is None:
        p = row.get("p_match")
        return "none matched" + ("" if p is None else f"; probability {wording.probability(p)} that one is meant")
    power = row.get("declared_it_mw"), row.get("declared_facility_mw")
    said = [
        f"{wording.mw(power[0])} MW of IT" if power[0] is not None
        else f"{wording.mw(power[1])} MW in all" if power[1] is not None
        else "power not stated",
        f"status {row.get('declared_status') or 'not stated'}",
        f"by {row['declared_operator']}" if row.get("declared_operator") else "operator not stated",
    ]  # fmt: skip
    return fitted(", ".join(said), 3 if row.get("class") == "position_mismatch" else 6, 19)


def _inside(data: VisitsData, row: Row) -> str:
    """How many facilities are declared in a cell, and their names."""
    cell = data.places.geometry[(data.places["entry_id"] == row["entry_id"]).to_numpy()].iloc[0]
    if cell is None or not len(data.declared):
        return "nothing in the cell" if cell is not None else "unknown"
    found = data.declared[data.declared.intersects(cell).to_numpy()]
    names = found["name"].fillna(found["declared_id"]).astype(str)
    return fitted(f"{len(found)} in the cell{': ' if len(found) else ''}{', '.join(names)}", 6, 19)


def _estimates(row: Row) -> list[Row]:
    """Rows of the table of power and compute; empty if no site was seen."""
    if row.get("it_mw_p50") is None:
        return []

    def number(stem: str, name: str) -> tuple[str, str]:
        value = row.get(f"{stem}_{name}")
        if value is None:
            return "unknown", ""
        if stem in ("flop_90d", "h100e") and value < 0.5:
            return "none", ""  # such as in a mine
        if stem == "flop_90d":
            return wording.power_of_ten(value)
        return (wording.count(value) if stem == "h100e" else wording.mw(value)), ""

    out = []
    for stem, quantity in _QUANTITY.items():
        basis = _RESTS_ON[stem]
        if stem == "it_mw":
            areas = [
                f"{row[k]:,.0f} m² of {what}"
                for k, what in (("building_area_m2", "buildings"), ("cooling_area_m2", "cooling equipment"))
                if row.get(k) is not None
            ]
            basis = f"{' and '.join(areas) or 'areas not stated'}; {basis}"
            if row.get("on_border") is True:
                basis = f"a part of the site only, a lower bound: {basis}"
        low, middle, high = (number(stem, q) for q in ("p05", "p50", "p95"))
        out.append({"quantity": quantity, "low": low, "middle": middle, "high": high, "basis": basis})
    return out

"""Columns of the inspection list: source, order, unit and meaning.

In: nothing. Out: `FIELDS`, `OUTCOME`, `FORM`, `NOT_HELD`. Columns that are passed through have the meanings of
`overwatt.pipeline.tables`. A field that nothing can fill is not a column: it is in `NOT_HELD`, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from overwatt.pipeline.tables import SCHEMAS
from overwatt.workflows.export.cells import SETTLES
from overwatt.workflows.io.dispositions import FINDINGS

SOURCES = {
    "almost_listed": "almost_listed.parquet",
    "sites": "sites.parquet",
    "declared": "declared.parquet",
    "looked_at": "looked_at.parquet",
    "footprints": "footprints.parquet",
    "thermal": "thermal.parquet",
    "plan": "inspection/plan.csv",
    "dispositions": "dispositions.*",
}
"""Tables next to the ledger, all optional, and the files that they are read from."""


FINDING_WORDS = {
    "ai": "a data center with AI compute",
    "non_ai_dc": "a data center without AI compute",
    "not_dc": "no data center",
    "refused": "access was refused",
    "cannot_determine": "seen, and still open",
}
"""Meaning of each finding of `dispositions.FINDINGS`."""


@dataclass(frozen=True)
class Field:
    """One column of the list.

    Attributes:
        name: name in all formats.
        source: `ledger`, a key of `SOURCES`, `made` (derived from the ledger), or `inspector` (to be filled in).
        column: name in the source table.
        unit: unit, '' if none.
        meaning: description.
        text: whether the column holds text.
    """

    name: str
    source: str
    column: str
    unit: str
    meaning: str
    text: bool


def _through(source: str, names: str, prefix: str = "", what: str = "") -> list[Field]:
    schema = {c.name: c for c in SCHEMAS[source]}
    return [
        Field(prefix + n, source, n, schema[n].unit, what + schema[n].meaning, schema[n].dtype == "string")
        for n in names.split()
    ]


def _alternatives() -> list[Field]:
    out = []
    for k in (1, 2, 3):
        which = f"likeliest other partner {k}: "
        out += [
            Field(f"alt{k}_id", "made", "alternatives", "", f"{which}its id", True),
            Field(f"alt{k}_side", "made", "alternatives", "", f"{which}a site or a declaration", True),
            Field(f"alt{k}_p", "made", "alternatives", "1", f"{which}match probability", False),
            Field(f"alt{k}_distance_m", "made", "alternatives", "m", f"{which}distance", False),
            Field(f"alt{k}_why", "made", "alternatives", "", f"{which}reasons", True),
        ]
    return out


OUTCOME: tuple[Field, ...] = (
    Field("finding", "inspector", "", "", f"to fill in: one of {', '.join(FINDINGS)}", True),
    Field("measured_mw", "inspector", "", "MW", "to fill in: IT power by meter", False),
    Field("chips", "inspector", "", "1", "to fill in: AI chips counted", False),
    Field("inspector", "inspector", "", "", "to fill in: who looked", True),
    Field("time", "inspector", "", "", "to fill in: when, such as 2026-05-04 or 2026-05-04T10:30+02:00", True),
    Field("note", "inspector", "", "", "to fill in: what else was found", True),
)
"""Columns that the inspector fills in, in all formats; `overwatt record` reads them back."""

FIELDS: tuple[Field, ...] = (
    *_through("ledger", "entry_id rank"),
    Field("drawn", "plan", "visit", "", "whether the plan's seeded draw chose it: a visit", False),
    Field("class", "ledger", "class", "", f"class of the entry; of a drawn cell: {' or '.join(SETTLES)}", True),
    Field("name", "made", "name", "", "as declared; else the id of declaration, site or cell", True),
    Field("lon", "made", "geometry", "degree", "longitude (WGS84) of a point inside the outline", False),
    Field("lat", "made", "geometry", "degree", "latitude (WGS84) of a point inside the outline", False),
    *OUTCOME,
    Field("inspection_probability", "plan", "probability", "1", "q_i: probability of a visit under the plan", False),
    *_through("ledger", "settles"),
    *_through("almost_listed", "left_out"),
    *_through("ledger", "rank_low rank_high tie"),
    Field("wording", "made", "class", "", "how far the wording goes; see 'about'", True),
    *_through("ledger", "site_id declared_id"),
    *_through("ledger", "owner zone"),
    Field(
        "position_sigma_m", "made", "geometry", "m",
        "1-sigma error of lon and lat: of the imagery where there is a site, else as declared", False,
    ),
    *_through(
        "ledger",
        "undeclared_flop_90d undeclared_flop_90d_p05 undeclared_flop_90d_p50 undeclared_flop_90d_p95 "
        "undeclared_flop_90d_ai ranked_by p_over_1e25 p_over_1e26 value_of_inspection next_step q_value",
    ),
    *_through("ledger", "p_data_center"),
    *_through("sites", "prior"),
    *_through("ledger", "p_match p_detect distance_m alternatives"),
    *_alternatives(),
    *_through("sites", "it_mw_p05"),
    *_through("ledger", "it_mw_p50"),
    *_through("sites", "it_mw_p95 facility_mw_p05 facility_mw_p50 facility_mw_p95"),
    *_through("ledger", "declared_it_mw"),
    *_through("declared", "facility_mw", "declared_"),
    *_through(
        "sites",
        "buildings building_area_m2 cooling_objects cooling_area_m2 cooling_units on_border used_thermal evidence "
        "site_type p_ai p_cloud p_enterprise p_colocation p_mine h100e_p05 h100e_p50 h100e_p95 h100e_fp8_p50 "
        "flop_90d_p05 flop_90d_p50 flop_90d_p95 flop_90d_mean flop_90d_ai_p50 assumptions seed",
    ),
    *_through("ledger", "status_check"),
    *_through("declared", "status valid_from valid_to", "declared_"),
    *_through("sites", "image_date"),
    Field("scenes", "footprints", "scenes", "", "images the site's objects were seen in, separated by ' | '", True),
    *_through("thermal", "looks_used looks_total lst_excess_k robust_z floor_mw statement", "thermal_"),
    *_through("ledger", "evidence_for evidence_against"),
    *_through(
        "declared",
        "operator kind footprint_m2 chip chips training_flop counterparty position_error_m looked_at reliability "
        "source licence also",
        "declared_",
    ),
    Field("last_finding", "dispositions", "finding", "", "latest finding of an inspector on the site or place", True),
    Field("last_finding_time", "dispositions", "time", "", "its time, ISO 8601, UTC", True),
)  # fmt: skip
"""All columns, in the order of the list."""

FORM = (
    "entry_id", "rank", "drawn", "class", "name", "lon", "lat", *(f.name for f in OUTCOME),
)  # fmt: skip
"""Columns of the form: what is needed to find the place, and what is to be filled in."""

ALMOST_LISTED = "almost listed"
WORDING = {
    ALMOST_LISTED: "The site is no entry: the column left_out says why. It is a row because the plan draws it, or "
    "because a finding on it is recorded.",
    "none": "No difference in what could be compared; nothing is asked.",
    "question": "The tables differ; ordinary causes (position, date, naming, size errors) are not excluded.",
    "inconsistency": "The tables differ past their errors, and the site is probably (0.9 or more) what the entry says. "
    "It is still no finding: only an answer or a visit gives one.",
}
"""Levels of wording and their meaning; no level goes further (docs/methods.md, section 2)."""
SURE = 0.9  # least probability for the wording 'inconsistency'; own choice

NOT_HELD = (
    ("first seen, last seen, dates of change", "one run is one look: `overwatt compare` of two runs gives them"),
    ("error budget of the power", "the tables hold quantiles, not their parts: `overwatt estimate` prints it"),
    ("boxes of single objects", "a row holds counts; the layer footprints of the GeoPackage holds the outlines"),
    ("thresholds other than 1e25 and 1e26 FLOP, other spans than 90 days", "the ledger holds these two; see "
     "`overwatt thresholds`"),
    ("acquisition time, ground sample distance, cloud and hash of each image", "the run keeps the date and one hash of "
     "its imagery (sheet about); a site's scenes are named"),
    ("probability of detection by power", "p_detect rests on coverage alone so far"),
    ("heat coupling S and its prior", "not fitted to any site with a meter yet; thermal_floor_mw is a design figure"),
    ("nearest confusers considered", "the detector keeps no ranking of other building types; see evidence_against"),
    ("access notes (gates, scale, managed-access sensitivities)", "not in imagery, nor in any registry read here"),
    ("dispositions of two analysts, signatures", "entered after the list"),
    ("custody hash chain", "sheet about has the hashes of the tables used; a signed bundle is not made here"),
    ("feedback used in which model version", "known after the next training; its model card says so"),
)  # fmt: skip
"""Fields of an inspection list (docs/methods.md, section 6.3) that this list does not have, and why."""

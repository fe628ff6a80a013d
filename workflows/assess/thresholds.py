"""What `overwatt thresholds` does with its options: read, compute, write the plot, tables as text.

In: a CSV of AI models, a run folder, days. Out: the object that `--json` prints (finite numbers
only), the lines for people, and with --out thresholds.json, thresholds.svg and thresholds_sites.csv.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.compute import ai_models, evasion, thresholds
from overwatt.pipeline.report.figures import thresholds as thresholds_plot
from overwatt.workflows.io import run_folder as store
from overwatt.workflows.io.run_folder import read_table
from overwatt.workflows.io.tabular import read_models

MAX_SITES = 1000
"""Sites in the JSON, those with the largest FLOP first; thresholds_sites.csv has all."""
_LINES = 15


def run(
    models: Path | None, run_folder: Path | None, *, days: float, doubling_months: float, out: Path | None
) -> dict[str, Any]:
    """Return the result as plain JSON values; write files where `out` is given.

    Args:
        models: CSV of AI models; None leaves that part out.
        run_folder: folder that `overwatt run` wrote, with sites.parquet.
        days: length of a training run.
        doubling_months: months in which algorithms halve the FLOP that a capability needs.
        out: folder for the plot and the tables.

    Raises:
        ConfigError: an option or a file cannot be used; nothing has been written then.
    """
    power = thresholds.power_table(days)  # refuses unusable days before anything is read
    result: dict[str, Any] = {
        "days": float(days),
        "floors_mw": {"optical": list(thresholds.OPTICAL_FLOOR_MW), "thermal": thresholds.THERMAL_FLOOR_MW},
        "verifiable": thresholds.verdicts(days),
        "unit_of_16_h100e": thresholds.cluster_gap(),
        "models": None,
        "models_left_out": None,
        "power": power,
        "sites": None,
        "gaming": evasion.gaming(days, doubling_months=doubling_months),
    }
    if models is None:
        result["models_left_out"] = (
            "part (a), comparison with real models, is not included; "
            "give --models CSV (Epoch AI, notable models, epoch.ai/data, CC-BY 4.0)"
        )
    else:
        result["models"] = ai_models.against_models(read_models(models)) | {"source": models.name}
    above = None
    if run_folder is not None:
        sites = _sites(run_folder)
        above = thresholds.sites_above(sites, days=days)
        result["sites"] = thresholds.sites_summary(
            above, days=days, limit=MAX_SITES, without_flop=len(sites) - len(above)
        )
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"--out {out}: is a file; give a folder")
        result["plot"] = str(out / "thresholds.svg")
        store.write_text(out / "thresholds.svg", thresholds_plot.svg(result))
        if above is not None:
            store.write_text(out / "thresholds_sites.csv", _csv(above))
    result = _finite(result)
    if out is not None:
        store.write_text(out / "thresholds.json", json.dumps(result, allow_nan=False) + "\n")
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as aligned plain text, the thresholds that imagery cannot verify first."""
    days = f"{result['days']:g}"
    optical, thermal = result["floors_mw"]["optical"], result["floors_mw"]["thermal"]
    out = [
        f"Thresholds that imagery cannot verify, first (optical floor {optical[0]:g}-{optical[1]:g} MW, "
        f"heat {thermal:g} MW; runs of {days} days)",
        *_table(
            ("FLOP", "facility MW", "short of optical", "short of heat", "what imagery can do"),
            [
                (
                    _flop(v["flop"]),
                    _span(v["mw_low"], v["mw_high"]),
                    _gap(v["optical_gap_low"], v["optical_gap_high"]),
                    _gap(v["thermal_gap_low"], v["thermal_gap_high"]),
                    v["words"],
                )
                for v in result["verifiable"]
            ],
        ),
        "",
    ]
    unit = result["unit_of_16_h100e"]
    out[-1:] = [
        f"16 H100e (registration unit of the MIRI 2025 draft) draw {unit['kw']:.0f} kW: "
        f"{_gap(unit['optical_gap_low'], unit['optical_gap_high'])} below the optical floor, "
        f"{_number(unit['thermal_gap'])}x below the thermal one.",
        "",
    ]
    out += _model_lines(result)
    out += ["(b) Facility MW needed, all of it training (MFU 0.35, availability 0.9, every watt for AI chips)"]
    chips = list(thresholds.CHIPS)
    rows: dict[tuple[float, float], dict[str, float]] = {}
    for row in result["power"]:
        rows.setdefault((row["flop"], row["days"]), {})[row["chip"]] = row["facility_mw"]
    out += _table(
        ("FLOP", "days", *chips), [(_flop(f), f"{d:g}", *map(_number, by.values())) for (f, d), by in rows.items()]
    )
    out += ["", *_site_lines(result["sites"], days), *_gaming_lines(result["gaming"], days)]
    return [*out, *([f"plot: {result['plot']}"] if "plot" in result else [])]


def _model_lines(result: dict[str, Any]) -> list[str]:
    models = result["models"]
    if models is None:
        return [f"(a) {result['models_left_out']}", ""]
    out = [
        f"(a) {models['with_compute']:,} real models with training compute, {models['without_compute']:,} without; "
        f"counts as published, 5-95% over {models['draws']} draws of the errors of their compute in brackets",
        f"  {models['without_compute_words']}",
    ]
    out += _table(
        (
            "FLOP",
            "trigger",
            "least / middle / most",
            "undecided",
            "of models",
            "of FLOP",
            "FLOP missed",
            "added by lowering to it",
        ),
        [
            (
                _flop(t["flop"]),
                _count(t),
                f"{t['at_least']} / {t['middle']:.0f} / {t['at_most']}",
                str(t["undecided"]),
                f"{t['share_of_models']:.1%}",
                f"{t['flop_share']['published']:.1%} ({t['flop_share']['p05']:.1%}-{t['flop_share']['p95']:.1%})",
                f"{1 - t['flop_share']['published']:.2%}",
                "-"
                if t["added_models"] is None
                else f"{t['added_models']} models, {t['added_flop_share']:.2%} of FLOP",
            )
            for t in models["thresholds"]
        ],
    )
    head = [_flop(f) for f in thresholds.THRESHOLDS_FLOP]
    for key, name in (("by_year", "year"), ("by_country", "country"), ("by_organisation", "organisation")):
        groups = models[key][-8:] if key == "by_year" else models[key]
        out += ["", *_table((name, "models", "no figure", *head), [_group_row(g) for g in groups])]
    return [*out, "", *(f"  note: {n}" for n in models["notes"]), ""]


def _group_row(group: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(group["name"]),
        str(group["models"]),
        str(group["without_compute"]),
        *(_count(c) for c in group["counts"]),
    )


def _site_lines(sites: dict[str, Any] | None, days: str) -> list[str]:
    if sites is None:
        return ["(c) no run given: --run RUN_DIR holds its sites against the thresholds", ""]
    out = [
        f"(c) {sites['sites_total']:,} sites of the run; probability of more than F in {days} days, if a data center"
    ]
    out += _table(
        ("FLOP", "expected sites", "sites p>=0.5", "sites p>=0.05", "what imagery can do"),
        [
            (_flop(t["flop"]), _number(t["expected_sites"]), str(t["sites_p50"]), str(t["sites_p05"]), t["words"])
            for t in sites["thresholds"]
        ],
    )
    head = [_flop(f) for f in thresholds.THRESHOLDS_FLOP]
    rows = [
        (s["site_id"], f"{s['p_data_center']:.2f}", *(f"{p:.3f}" for p in s["p_above"]))
        for s in sites["sites"][:_LINES]
    ]
    out += ["", *_table(("site", "p(DC)", *head), rows)]
    if sites["sites_total"] > len(rows):
        out.append(f"  and {sites['sites_total'] - len(rows):,} more")
    return [*out, "", *(f"  note: {n}" for n in sites["notes"]), ""]


def _gaming_lines(found: dict[str, Any], days: str) -> list[str]:
    chip = found["chip"]
    out = [f"(d) N sites, each at {found['just_below']:.0%} of F in {days} days; MW of one site on {chip}"]
    counts = [str(n) for n in found["site_counts"]]
    out += _table(
        ("FLOP", "MW of one", "optical floor", *(f"N={n}" for n in counts), "sites of 5 MW that reach F"),
        [
            (
                _flop(r["flop"]),
                _number(r["mw_of_one"]),
                r["words"],
                *(_flop(t) for t in r["totals"]),
                f"{r['hidden_sites']:,}",
            )
            for r in found["split"]
        ],
    )
    out += ["", f"Inference: facility MW on {chip} where only a share of a site's FLOP trains and only that counts"]
    shares = [f"{s:.0%}" for s in found["training_shares"]]
    out += _table(
        ("FLOP", *(f"{s} trains" for s in shares)),
        [(_flop(r["flop"]), *map(_number, r["facility_mw"])) for r in found["inference"]],
    )
    out.append(
        "  a site that says a share s trains, and trains with all of it, does 1/s of the FLOP it says: "
        + ", ".join(f"s={s}: {_number(h)}x" for s, h in zip(shares, found["headroom"], strict=True))
    )
    out += [
        "",
        f"Algorithms: the FLOP that give today's capability of F, halved every {found['doubling_months']:g} months; "
        f"months until {chip} falls below {found['floor_mw']:g} MW",
    ]
    out += _table(
        ("FLOP", *(f"+{m} mo" for m in found["months"]), "months to floor", "with chips +40%/yr"),
        [
            (
                _flop(r["flop"]),
                *(_flop(f) for f in r["physical_flop"]),
                _number(r["months_to_floor"]) if r["months_to_floor"] else "below now",
                _number(r["months_to_floor_with_chips"]) if r["months_to_floor"] else "below now",
            )
            for r in found["algorithms"]
        ],
    )
    return [*out, "", *(f"  note: {n}" for n in found["notes"])]


def _sites(folder: Path) -> gpd.GeoDataFrame:
    return read_table(folder / "sites.parquet", "sites")


def _csv(above: pd.DataFrame) -> str:
    """Return the table of sites as CSV text; a name that a spreadsheet would run is quoted."""
    safe = above.assign(site_id=[f"'{v}" if v[:1] in "=+-@\t\r\n" else v for v in above["site_id"]])
    return str(safe.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Plain JSON values, floats to 6 digits; a float that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [tuple(_printable(c) for c in row) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  "
        + "  ".join(
            c.ljust(w) if i == 0 or i == len(head) - 1 else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _printable(text: str) -> str:
    """Names come from files: no escapes to the terminal, at most 42 characters of a name."""
    return "".join(c if c.isprintable() else "?" for c in text)[:120]


def _flop(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _span(low: float, high: float) -> str:
    return f"{_number(low)}-{_number(high)}"


def _gap(low: float, high: float) -> str:
    if high <= 1:
        return "-"
    return f"{_number(max(low, 1.0))}-{_number(high)}x"


def _count(c: dict[str, Any]) -> str:
    return f"{c['published']} ({c['p05']}-{c['p95']})" if c["p95"] else "0"

"""Draws the pictures of docs/power.md: `python docs/make_power_page.py POWER.json`.

In: the JSON of `python -m benchmarks.power --json`. Out: docs/images/power-*.svg.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from overwatt.pipeline.compute.single_site import estimate_site

IMAGES = Path(__file__).parent / "images"
CASES = {
    "footprint alone": {"footprint_m2": 45_054},
    "121 chillers": {"chillers": 121},
    "60 chillers of 28 m2, footprint, 40 generators": {
        "footprint_m2": 45_054, "chillers": 60, "chiller_area_m2": 28, "generators": 40, "site_type": "ai",
    },
    "footprint, known to be AI of Google": {"footprint_m2": 45_054, "site_type": "ai", "operator": "Google"},
}  # fmt: skip


def main(path: str) -> None:
    """Write the pictures."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    with rc_context({"svg.hashsalt": "overwatt", "svg.fonttype": "none", "font.size": 9.0}):
        for name, figure in (
            ("coverage", coverage(result)), ("against-epoch", against_epoch(result)),
            ("budget", budget()), ("sensitivity", sensitivity()),
        ):  # fmt: skip
            figure.savefig(IMAGES / f"power-{name}.svg", metadata={"Date": None, "Creator": None})


def coverage(result: dict) -> Figure:
    """Plot measured coverage over stated coverage for each part, with bootstrap intervals."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    parts = {"equipment": result["equipment"], "chips, independent truth": result["independent"],
             "footprint": result["footprint"],
             "construction, 12 months before": result["timeline"]["twelve_months_before"]}  # fmt: skip
    for k, (name, part) in enumerate(parts.items()):
        stated = np.array([0.5, 0.8, 0.95])
        keys = ("coverage_50", "coverage_80", "coverage_95")
        measured = np.array([part[key] for key in keys])
        ends = np.array([part["intervals"][key] for key in keys])
        bars = np.abs(ends - measured[:, None]).T
        axes.errorbar(
            stated + 0.008 * (k - 1.5), measured, bars, fmt="o", ms=4, capsize=2, label=f"{name} (n {part['n']})"
        )
    axes.set(xlabel="stated coverage", ylabel="measured coverage", xlim=(0.4, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure


def against_epoch(result: dict) -> Figure:
    """Plot our estimate over metered and reported power, and apart from these over power that Epoch AI made."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {"metered": "#0072b2", "reported": "#009e73", "computed": "0.6", "rounded": "0.8"}
    for r in result["independent"]["rows"]:
        half = 1.2816 * r["ln_sd"]  # 90% quantile of the normal: ends of the central 80%
        color = colors[r["class"]]
        left.plot([r["true_mw"]] * 2, [r["ours_mw"] * math.exp(s * half) for s in (-1, 1)], color=color, lw=0.8)
        left.plot(r["true_mw"], r["ours_mw"], "o", ms=3, color=color)
    for name, color in colors.items():
        n = result["independent"]["classes"][name]["n"]
        left.plot([], [], "o", ms=4, color=color, label=f"{name} (n {n})")
    left.legend(frameon=False, loc="upper left")
    left.set(title="clusters: power from chips, owner left out", xlabel="true MW (grey: not independent)",
             ylabel="ours, MW (80%)")  # fmt: skip
    footprint = [(r["site"], r["epoch_facility_mw"], r["ours_mw"], r["ln_sd"]) for r in result["footprint"]["rows"]]
    counted = [(r["site"], r["epoch_it_mw"], r["p50"], r["ln_sd"]) for r in result["counted_sites"]["sites"]]
    # names beside the points of the one and upright above the bars of the other, so that they do not overlap
    for sites, color, label, upright in (
        (footprint, "#d55e00", "footprint: facility power", False),
        (counted, "#009e73", "counted machines: IT power", True),
    ):
        right.plot([], [], "o", ms=4, color=color, label=f"{label} (n {len(sites)})")
        for name, truth, ours, sd in sites:
            right.plot([truth] * 2, [ours * math.exp(s * 1.2816 * sd) for s in (-1, 1)], color=color, lw=1)
            right.plot(truth, ours, "o", ms=4, color=color)
            place: dict[str, object] = {"xy": (truth, ours), "xytext": (4, 0), "va": "center"}
            if upright:
                top = ours * math.exp(1.2816 * sd)
                place = {"xy": (truth, top), "xytext": (-1, 0), "va": "bottom", "ha": "right", "rotation": 90}
            right.annotate(name, fontsize=6.5, textcoords="offset points", **place)
    right.legend(frameon=False, loc="upper left")
    right.set(title="sites, not independent", xlabel="Epoch AI, MW", ylabel="ours, MW (80%)")
    for axes in (left, right):
        # room for names on the right
        low, high = (0.05, axes.get_xlim()[1] * 1.5) if axes is left else (10, 1000)
        axes.plot([max(low, 0.1), high], [max(low, 0.1), high], color="0.7", lw=1)
        axes.set(xscale="log", yscale="log")
    right.set(ylim=(10, 1500), xlim=(10, 1000))
    for axis, ticks in ((right.xaxis, (10, 20, 50, 100, 200, 500)), (right.yaxis, (10, 20, 50, 100, 200, 500, 1000))):
        axis.set_ticks(ticks, [str(t) for t in ticks])
    right.minorticks_off()
    return figure


def budget() -> Figure:
    """Plot the share of the variance of IT power and of FLOP by source, for four sites."""
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    for axes, (name, given) in zip(figure.subplots(2, 2).flat, CASES.items(), strict=True):
        found = estimate_site(given)
        names = list(dict.fromkeys([*found["error_budget_flop"], *found["error_budget"]]))
        names = [n for n in names if max(found[k].get(n, 0) for k in ("error_budget", "error_budget_flop")) > 0.01]
        for k, (key, label) in enumerate((("error_budget", "IT power"), ("error_budget_flop", "FLOP, if any AI"))):
            axes.barh(
                [-y - 0.38 * k for y in range(len(names))], [found[key].get(n, 0) for n in names], 0.36, label=label
            )
        axes.set_yticks(
            [-y - 0.19 for y in range(len(names))], [n.removeprefix("the ")[:44] for n in names], fontsize=7
        )
        axes.set(title=name, xlim=(0, 1), xlabel="share of variance")
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def sensitivity() -> Figure:
    """Plot the effect of one standard deviation of each assumption on the FLOP of the third case."""
    found = estimate_site(CASES["60 chillers of 28 m2, footprint, 40 generators"])
    q = found["flop"]
    # p90 / p10 spans 2 x 1.2816 = 2.563 standard deviations
    total = math.log(q["p90"] / q["p10"]) / 2.563
    # variance shares times the total variance give the sd of each source
    items = [(k, math.exp(total * math.sqrt(v))) for k, v in found["error_budget_flop"].items() if v > 0.002]
    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    axes = figure.subplots()
    for y, (_, factor) in enumerate(items):
        axes.barh(-y, factor - 1 / factor, 0.7, 1 / factor, color="#0072b2")
    axes.set_yticks([-y for y in range(len(items))], [k for k, _ in items], fontsize=8)
    axes.axvline(1, color="white", lw=1)
    axes.set(xscale="log", xlabel="factor on FLOP in 90 days, one standard deviation down and up")
    ticks = [0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    return figure


if __name__ == "__main__":
    main(sys.argv[1])

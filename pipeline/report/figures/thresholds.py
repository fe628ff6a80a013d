"""Plot of `overwatt thresholds`: models by year, power by chip, sites of a run, progress of algorithms.

In: the result of `overwatt thresholds`. Out: SVG text; the same result gives the same text.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from overwatt.pipeline.compute.thresholds import CHIPS, OPTICAL_FLOOR_MW, THERMAL_FLOOR_MW, THRESHOLDS_FLOP

YEARS = 10
"""Years of models that are shown."""
SITES = 8
"""Sites that are shown; as many curves can be told apart (own choice)."""
_CHIP_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito 2008
_FLOP_COLORS = tuple(matplotlib.colormaps["viridis"](x) for x in np.linspace(0.0, 0.88, len(THRESHOLDS_FLOP)))


def svg(result: dict[str, Any]) -> str:
    """Return the panels for which the result has data, as SVG text without date or random ids."""
    with matplotlib.rc_context({"svg.hashsalt": "overwatt", "svg.fonttype": "none", "font.size": 9.0}):
        out = io.StringIO()
        figure(result).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def figure(result: dict[str, Any]) -> Figure:
    """Return the figure, two panels per row."""
    panels = [_power, _algorithms]
    if result["sites"] is not None and result["sites"]["sites"]:
        panels.insert(1, _sites)
    if result["models"] is not None and result["models"]["with_compute"]:
        panels.insert(0, _models)
    rows = (len(panels) + 1) // 2
    fig = Figure(figsize=(11.0, 4.2 * rows), layout="constrained")
    FigureCanvasSVG(fig)
    for number, draw in enumerate(panels):
        axes = fig.add_subplot(rows, 2, number + 1)
        draw(axes, result)
        axes.grid(color="#808080", alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return fig


def _models(axes: Axes, result: dict[str, Any]) -> None:
    """Draw the number of published models above each threshold, by year."""
    groups = [g for g in result["models"]["by_year"] if g["name"].isdigit()][-YEARS:]
    years = [int(g["name"]) for g in groups]
    for i, flop in enumerate(THRESHOLDS_FLOP):
        counts = [g["counts"][i] for g in groups]
        if not any(c["p95"] for c in counts):
            continue
        axes.fill_between(
            years,
            [c["p05"] for c in counts],
            [c["p95"] for c in counts],
            color=_FLOP_COLORS[i],
            alpha=0.18,
            linewidth=0,
        )
        axes.plot(years, [c["published"] for c in counts], "o-", color=_FLOP_COLORS[i], markersize=3, label=_name(flop))
    axes.set_title("Real models above the threshold, by year (band: 5-95%)", loc="left")
    axes.set_ylabel("models per year (the last year is incomplete)")
    axes.set_ylim(0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="FLOP", frameon=False, fontsize=8)


def _power(axes: Axes, result: dict[str, Any]) -> None:
    """Draw the facility power that each chip needs for a threshold."""
    for chip, color in zip(CHIPS, _CHIP_COLORS, strict=True):
        rows = [r for r in result["power"] if r["chip"] == chip and r["days"] == result["days"]]
        axes.plot(
            [r["flop"] for r in rows], [r["facility_mw"] for r in rows], "o-", color=color, markersize=3, label=chip
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    _floors(axes)
    axes.set_title(f"Facility power needed for F in {result['days']:g} days", loc="left")
    axes.set_xlabel("threshold F, FLOP")
    axes.set_ylabel("facility MW")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _sites(axes: Axes, result: dict[str, Any]) -> None:
    """Draw the probability that the largest sites exceed each threshold."""
    blind = [v["flop"] for v in result["verifiable"] if v["verdict"] == "cannot"]
    if blind:
        # thresholds are decades: half a decade (3.16) to the right of the last one
        axes.axvspan(THRESHOLDS_FLOP[0] / 2, max(blind) * 3.16, color="#808080", alpha=0.15, linewidth=0)
        text = "imagery misses\nsmaller sites that\nalso exceed these"
        axes.text(THRESHOLDS_FLOP[0] / 1.5, 0.03, text, fontsize=8, color="#404040", va="bottom")
    shown = result["sites"]["sites"][:SITES]
    colors = matplotlib.colormaps["plasma"](np.linspace(0.0, 0.85, len(shown)))
    for site, color in zip(shown, colors, strict=True):
        axes.plot(THRESHOLDS_FLOP, site["p_above"], "o-", color=color, markersize=3, label=_printable(site["site_id"]))
    axes.set_xscale("log")
    axes.set_xlim(THRESHOLDS_FLOP[0] / 2, THRESHOLDS_FLOP[-1] * 2)
    axes.set_ylim(0, 1.02)
    total = result["sites"]["sites_total"]
    axes.set_title(f"Largest {len(shown)} of {total:,} sites: P(FLOP > F), if a data center", loc="left")
    axes.set_xlabel("threshold F, FLOP")
    axes.set_ylabel("probability")
    for label in axes.legend(frameon=False, fontsize=7, loc="upper right").get_texts():
        label.set_parse_math(False)


def _algorithms(axes: Axes, result: dict[str, Any]) -> None:
    """Draw the facility power for a fixed capability as algorithms improve."""
    found = result["gaming"]
    months = np.linspace(0.0, float(max(found["months"])), 61)
    needed = {r["flop"]: r["facility_mw"][0] for r in found["inference"]}
    for i, flop in enumerate(THRESHOLDS_FLOP[2:], start=2):
        # algorithmic progress: the FLOP for a fixed capability halve every doubling_months
        mw = needed[flop] * 2.0 ** (-months / found["doubling_months"])
        axes.plot(months, mw, color=_FLOP_COLORS[i], label=_name(flop))
    axes.set_yscale("log")
    _floors(axes, x=0.99)
    axes.set_title(
        f"Power for today's capability at F; need halves every {found['doubling_months']:g} months", loc="left"
    )
    axes.set_xlabel("months from now")
    axes.set_ylabel(f"facility MW, {found['chip']}")
    axes.legend(title="FLOP", frameon=False, fontsize=8, loc="lower left", ncols=2)


def _floors(axes: Axes, x: float = 0.01) -> None:
    """Draw the detection floors of optical imagery and of heat (docs/methods.md, sections 2 and 3.3)."""
    axes.axhspan(*OPTICAL_FLOOR_MW, color="#d55e00", alpha=0.25, linewidth=0)
    axes.axhline(THERMAL_FLOOR_MW, color="#d55e00", linestyle="--", linewidth=1)
    low, high = OPTICAL_FLOOR_MW
    for y, text in (
        (high, f"optical floor {low:g}-{high:g} MW"),
        (THERMAL_FLOOR_MW, f"thermal floor {THERMAL_FLOOR_MW:g} MW"),
    ):
        place = axes.get_yaxis_transform()
        align = "left" if x < 0.5 else "right"
        axes.text(x, y * 1.12, text, transform=place, ha=align, fontsize=8, color="#a04000")


def _name(flop: float) -> str:
    """A FLOP count as 1e25."""
    return f"{flop:.0e}".replace("+", "")


def _printable(text: str) -> str:
    """A name from a file, safe to draw: no control characters, limited length."""
    return "".join(c if c.isprintable() else "?" for c in text)[:40]

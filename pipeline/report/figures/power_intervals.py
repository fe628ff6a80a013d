"""Plot of the report: estimated and declared IT power of each site.

In: tables `sites` and `ledger`. Out: SVG text without style attributes, so that a page with a strict content security
policy can contain it inline. Its text stays text, and its colours are those of the page. The same tables give the same
SVG: it has no date and no random ids.
"""

from __future__ import annotations

import io
import re

import geopandas as gpd
import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

MAX_ROWS = 60
"""Largest number of rows; more could not be read (own choice)."""

_QUANTILES = ("p05", "p10", "p50", "p90", "p95")
_ACCENT, _DECLARED = "#c0ffee", "#decade"  # placeholders, replaced by the colours of the page


def interval_plot(sites: gpd.GeoDataFrame, ledger: gpd.GeoDataFrame | None = None) -> str:
    """Return an SVG with the IT power of each site (p05 to p95, p10 to p90, p50) and the declared IT power.

    Sites are in decreasing order of p50, at most `MAX_ROWS`. The SVG has no date, random id or style attribute, and
    uses the colours `currentColor`, `var(--accent)` and `var(--declared)`.

    Args:
        sites: table `sites`.
        ledger: table `ledger`, for the declared IT power; None to leave it out.
    """
    order = sites.sort_values(["it_mw_p50", "site_id"], ascending=[False, True]).head(MAX_ROWS)
    declared: dict[str, float] = {}
    if ledger is not None:
        stated = ledger.dropna(subset=["site_id", "declared_it_mw"])
        declared = stated.groupby("site_id")["declared_it_mw"].sum().to_dict()
    height_in = 0.9 + 0.27 * max(len(order), 1)
    with matplotlib.rc_context({"svg.hashsalt": "overwatt", "svg.fonttype": "none", "font.size": 9.5}):
        figure = Figure(figsize=(5.2, height_in))  # inches; narrow, so that its letters can be read on a telephone
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.29, 0.62 / height_in, 0.69, 1 - 0.78 / height_in), facecolor="none")
        figure.patch.set_visible(False)
        y = -np.arange(len(order), dtype=float)
        # 10 kW at least: a logarithmic axis has no zero
        q = {name: np.maximum(order[f"it_mw_{name}"].to_numpy(float), 1e-2) for name in _QUANTILES}
        axes.set_xscale("log")
        axes.hlines(y, q["p05"], q["p95"], colors=_ACCENT, linewidth=1.1)
        axes.hlines(y, q["p10"], q["p90"], colors=_ACCENT, linewidth=5.0, alpha=0.45)
        axes.plot(q["p50"], y, "|", color="#000000", markersize=9, markeredgewidth=1.8)
        known = [(declared[s], v) for s, v in zip(order["site_id"], y, strict=True) if declared.get(s, 0) > 0]
        if known:
            axes.plot(*np.array(known).T, "D", color=_DECLARED, markersize=5.2, markeredgewidth=0)
        axes.set_yticks(y, order["site_id"].astype(str), parse_math=False)
        axes.set_ylim(-len(order) + 0.4, 0.6)
        if not len(order):
            axes.set_xlim(1, 100)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("IT power the site could carry, MW (log scale)")
        axes.grid(axis="x", color="#808080", alpha=0.3, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), "Intervals of the IT power of each site, and the declared IT power")


def _inline(svg: str, label: str) -> str:
    """Remove prolog, metadata and style sheet; turn style attributes into presentation attributes.

    A content security policy without `unsafe-inline` blocks style attributes, but not presentation attributes.
    """

    def attributes(match: re.Match[str]) -> str:
        out = []
        for part in match.group(1).split(";"):
            name, _, value = (piece.strip() for piece in part.partition(":"))
            if name == "font":
                size = re.search(r"([\d.]+)px", value)
                name, value = "font-size", size.group(1) if size else "9"
            if name and name != "font-family":
                out.append(f'{name}="{value}"')
        return " ".join(out)

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'style="([^"]*)"', attributes, svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', rf'\1 role="img" aria-label="{label}"', svg, count=1)
    svg = svg.replace("#000000", "currentColor").replace(_ACCENT, "var(--accent)")
    svg = re.sub(r"<text ", '<text fill="currentColor" ', svg)
    return svg.replace(_DECLARED, "var(--declared)").strip()

"""Plot of an inspection plan: the cost of the condition on a naive evader in worst-case detection.

In: places, budget, plan. Out: the trade-off as numbers, and a figure of two panels as SVG text or PNG bytes; the same
plan gives the same bytes. Left: plans from the best worst case to the best detection of a naive evader, with the
chosen plan, the uniform draw and the list of the highest scores. Right: how the visits are distributed over strata.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection.plan import NAIVE, Places, Plan, detection, plan, top_list, worst_case

POINTS = 21
"""Plans on the curve of the left panel."""
_FEW = 3
_PLACES = (2_000, 20_000)  # from these numbers of places on 11 and 3 points (own choice): one plan takes seconds there
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#666666"  # Okabe and Ito 2008, and grey
_NAME_CHARS = 34  # longest name of a stratum that fits next to the bars


@dataclass(frozen=True)
class Trade:
    """Detection probabilities of plans with an increasing condition on the naive evader.

    Attributes:
        condition: (plan,) required share of the list's detection of a naive evader, 0..1, as far as a plan exists.
        naive: (plan,) detection of a naive evader; worst: (plan,) worst-case detection.
        uniform: (naive, worst) of a draw with equal probability for all places.
        top: (naive, worst) of the list of the highest scores.
    """

    condition: np.ndarray
    naive: np.ndarray
    worst: np.ndarray
    uniform: tuple[float, float]
    top: tuple[float, float]


def trade(places: Places, budget: float, *, floor: float = 0.02, points: int | None = None) -> Trade:
    """Return the trade-off between naive and worst-case detection.

    Args:
        places: as for `inspection.plan.plan`.
        budget: total cost of inspections.
        floor: share of the budget that each stratum gets at least.
        points: number of plans, with conditions from 0 to 1 (3 or fewer: from 0 to `NAIVE`). None for `POINTS`, or
            fewer if there are many places.

    Raises:
        ConfigError: there is no plan even without the condition; see `inspection.plan.plan`.
    """
    n = len(places.place_id)
    if points is None:
        points = POINTS if n < _PLACES[0] else 11 if n < _PLACES[1] else _FEW
    found: list[tuple[float, Plan]] = []
    last = 1.0 if points > _FEW else NAIVE  # with few points none is spent on conditions that the floors exclude
    for condition in np.linspace(0.0, last, max(points, 2)).tolist():
        try:
            found.append((condition, plan(places, budget, floor=floor, naive=condition)))
        except ConfigError:
            if not found:
                raise
            break  # the floors leave too little budget for this condition
    weight = _weight(places)
    uniform = np.full(n, min(1.0, budget / places.cost.sum()))
    top = top_list(places, budget)
    return Trade(
        np.array([c for c, _ in found]),
        np.array([p.naive for _, p in found]),
        np.array([p.worst_case for _, p in found]),
        (float(weight @ detection(places, uniform)), worst_case(places, uniform)),
        (float(weight @ detection(places, top)), worst_case(places, top)),
    )


def figure(places: Places, chosen: Plan, of: Trade, condition: float = NAIVE) -> Figure:
    """Return the figure; `condition` is that of the chosen plan, for the legend."""
    fig = Figure(figsize=(11.0, 4.8), layout="constrained")
    FigureCanvasAgg(fig)
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1.0))
    _trade(left, chosen, of, condition)
    _effort(right, places, chosen)
    for axes in (left, right):
        axes.grid(color="#808080", alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    lines, names = left.get_legend_handles_labels()
    fig.legend(lines, names, loc="outside lower left", ncols=3, frameon=False, fontsize=8,
               title="detection probability: naive evader, worst case", title_fontsize=8, alignment="left")  # fmt: skip
    return fig


def svg(places: Places, chosen: Plan, of: Trade) -> str:
    """Return the figure as SVG text without date or random ids."""
    with matplotlib.rc_context({"svg.hashsalt": "overwatt", "svg.fonttype": "none", "font.size": 9.0}):
        out = io.StringIO()
        figure(places, chosen, of).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def png(places: Places, chosen: Plan, of: Trade) -> bytes:
    """Return the figure as PNG bytes at 120 dots per inch."""
    with matplotlib.rc_context({"font.size": 9.0}):
        raw = io.BytesIO()
        figure(places, chosen, of).savefig(raw, format="png", dpi=120, metadata={"Software": None})
    return raw.getvalue()


def _trade(axes: Axes, chosen: Plan, of: Trade, condition: float) -> None:
    """Draw worst-case over naive detection of all plans."""
    order = np.lexsort((-of.worst, of.naive))
    name = f"plans, condition 0 to {of.condition[-1]:.2g}"
    axes.plot(of.naive[order], of.worst[order], "-", color=_BLUE, linewidth=1.5, label=name, zorder=2)
    axes.plot(of.naive, of.worst, ".", color=_BLUE, markersize=4, zorder=2)
    # of equal worst cases the first plan, that with the weakest condition
    best = int(np.argmax(of.worst - 1e-9 * np.arange(len(of.worst))))
    met = chosen.naive / of.top[0] if of.top[0] > 0 else 1.0
    # 5e-3: half a unit of the last digit that the legend shows
    asked = f"condition {condition:g}" if met > condition - 5e-3 else f"condition {condition:g}, {met:.2f} achieved"
    marks = (
        (of.naive[best], of.worst[best], "D", _BLUE, "no condition, best worst case", 6),
        (*of.uniform, "s", _GREY, "uniform draw", 7),
        (*of.top, "^", _ORANGE, "list of the highest scores", 8),
        (chosen.naive, chosen.worst_case, "*", _GREEN, f"chosen plan, {asked}", 15),
    )
    for x, y, mark, color, words, size in marks:
        axes.plot(
            [x], [y], mark, color=color, markersize=size, linestyle="none", label=f"{words}: {x:.3f}, {y:.3f}",
            clip_on=False, zorder=4, markeredgecolor="white", markeredgewidth=0.6,
        )  # fmt: skip
    label = f"{condition:g} of the list's detection of a naive evader"
    axes.axvline(condition * of.top[0], color=_GREEN, linestyle=":", linewidth=1.0, zorder=1, label=label)
    axes.set_xlim(0.0, min(1.0, 1.08 * max(of.top[0], *of.naive, of.uniform[0], 0.05)))
    axes.set_ylim(min(0.0, of.top[1]), min(1.0, 1.15 * max(*of.worst, of.uniform[1], chosen.worst_case, 0.05)))
    axes.set_title("Cost of the condition on a naive evader", loc="left")
    axes.set_xlabel("detection of a naive evader (chooses places in proportion to the score)")
    axes.set_ylabel("worst case: detection of an evader who knows the plan")


def _effort(axes: Axes, places: Places, chosen: Plan) -> None:
    """Draw the share of the budget of each stratum, for the chosen plan, a uniform draw and the list."""
    names = sorted(set(places.stratum))
    group = np.array([names.index(s) for s in places.stratum])
    uniform = np.full(len(group), min(1.0, chosen.budget / places.cost.sum()))
    shares = []
    for q in (chosen.q, uniform, top_list(places, chosen.budget)):
        spent = np.bincount(group, q * places.cost, len(names))
        # expected cost per stratum, in % of the expected total
        shares.append(100.0 * spent / max(float(spent.sum()), 1e-300))
    order = np.argsort(shares[0], kind="stable")
    y = np.arange(len(names), dtype=float)
    rows = zip(
        shares, (_GREEN, _GREY, _ORANGE), ("chosen plan", "uniform draw", "list"), (0.27, 0.0, -0.27), strict=True
    )
    for share, color, name, shift in rows:
        axes.barh(y + shift, share[order], height=0.25, color=color, label=name)
    counts = np.bincount(group, minlength=len(names))
    labels = [f"{_printable(names[k])} ({counts[k]:,})" for k in order]
    axes.set_yticks(y, labels)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_xlim(0.0)
    axes.set_title("Distribution of the visits by stratum (number of places)", loc="left")
    axes.set_xlabel("% of the budget")
    axes.legend(frameon=False, fontsize=8, loc="best")


def _weight(places: Places) -> np.ndarray:
    """Return the probability that a naive evader chooses each place, (place,) float64, proportional to the score."""
    total = float(places.score.sum())
    return places.score / total if total > 0 else np.full(len(places.score), 1.0 / len(places.score))


def _printable(text: str) -> str:
    """A name from a file, safe to draw: no control characters, limited length."""
    return "".join(c if c.isprintable() else "?" for c in text.replace("_", " "))[:_NAME_CHARS]

"""The estimate of a single site as lines of text for a terminal, and as an HTML page with an SVG.

In: the result of overwatt.pipeline.compute.single_site. Out: text; the same result gives the same text.
"""

from __future__ import annotations

import html
import io
import math
from typing import Any

_WIDTH = 44  # characters of the interval bar
_NAMES = {"it_mw": "IT power, MW", "facility_mw": "facility power, MW", "h100e": "H100 equivalents", "flop": "FLOP"}


def lines(result: dict[str, Any]) -> list[str]:
    """Return the estimate as lines of plain text for a terminal."""
    out = [f"{'':24}{'p05':>11}{'p10':>11}{'p50':>11}{'p90':>11}{'p95':>11}"]
    for key, name in _NAMES.items():
        label = f"{name} in {result['days']} d" if key == "flop" else name
        out.append(
            f"{label:24}" + "".join(f"{_short(result[key][q]):>11}" for q in ("p05", "p10", "p50", "p90", "p95"))
        )
    q = result["it_mw"]
    out += ["", "IT power (80% interval in brackets, | is the median):", _bar(q), ""]
    if result["error_budget"]:
        out.append("share of the variance of IT power by error source:")
    for source, share in result["error_budget"].items():
        out.append(f"  {source[:52]:52} {share:5.0%} {'#' * round(share * 36)}")
    if result["probability_no_ai"] > 0:
        out.append(f"probability that the site has no AI accelerators: {result['probability_no_ai']:.0%}")
    energy = result["annual_gwh"]
    out.append(f"annual energy: {_short(energy['p10'])} to {_short(energy['p90'])} GWh (80%), from the annual PUE")
    for flop, dates in (result["time_to_threshold"] or {}).items():
        out.append(
            f"reaches {flop} FLOP by {dates['p50'] or 'later than 10 years'} (80%: {dates['p10']} to {dates['p90']})"
        )
    out += _observations(result)
    out += [f"question: {text}" for text in result["questions"]]
    out += ["", *_kinds(result), *_declared(result), result["assumptions"], f"Basis: {result['basis']}."]
    return out


def page(result: dict[str, Any]) -> str:
    """Return one self-contained HTML page; all text of the input is escaped."""
    text = html.escape("\n".join(lines(result)))
    title = html.escape(f"Estimate: {result['site'].get('name', 'site')}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
        "pre{white-space:pre-wrap}svg{max-width:100%;height:auto}</style></head>"
        f"<body><h1>{title}</h1>{svg(result)}<pre>{text}</pre></body></html>\n"
    )


def svg(result: dict[str, Any]) -> str:
    """Return an SVG: intervals of the four quantities, and the error budgets of IT power and FLOP."""
    from matplotlib import rc_context  # slow to import, and needed for pages only
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "overwatt", "svg.fonttype": "none", "font.size": 9.0}):
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
        for y, (key, name) in enumerate(_NAMES.items()):
            q = result[key]
            middle = q["p50"]
            if middle <= 0:
                left.text(1.0, -y, f"{name}: none", va="center")
                continue
            for low, high, width in (("p025", "p975", 2), ("p10", "p90", 7)):
                ends = [max(q[low] / middle, 1e-3), q[high] / middle]
                left.plot(ends, [-y, -y], lw=width, color="#0072b2", alpha=0.5, solid_capstyle="butt")
            left.plot(1.0, -y, "o", color="#0072b2")
            left.text(1.0, -y + 0.22, f"{name}: {_short(middle)}", ha="center")
        left.set(xscale="log", yticks=[], xlabel="ratio to the median (thick 80%, thin 95%)", ylim=(-3.6, 0.6))
        low, high = left.get_xlim()
        ticks = [t for t in (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30) if low <= t <= high]
        left.set_xticks(ticks, [f"{t:g}" for t in ticks])
        left.minorticks_off()
        names = list(dict.fromkeys([*result["error_budget"], *result["error_budget_flop"]]))[:12]
        for k, (budget, label) in enumerate((("error_budget", "IT power"), ("error_budget_flop", "FLOP"))):
            values = [result[budget].get(n, 0.0) for n in names]
            right.barh([-y - 0.38 * k for y in range(len(names))], values, 0.36, label=label)
        right.set(yticks=[-y - 0.19 for y in range(len(names))], xlabel="share of variance")
        right.set_yticklabels([n if len(n) < 46 else n[:43] + "..." for n in names], fontsize=8)
        right.legend(frameon=False, loc="lower right")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _observations(result: dict[str, Any]) -> list[str]:
    """The observations that would narrow the 80% interval of IT power most, with the factor that would remain."""
    q = result["it_mw"]
    now = 0.5 * math.log(q["p90"] / q["p10"])
    # half of the interval of a log-normal goes with its ln-sd
    after = {
        f"{o['observation']} ({o['kind']})": f"{math.exp(now * o['ln_sd_after'] / o['ln_sd_before']):.1f}"
        for o in result["next_observations"]
    }
    before = f"{math.exp(now):.1f}"
    narrower = [f"  {words}: to a factor {factor}" for words, factor in after.items() if factor != before]
    head = f"observations that would narrow IT power most (now a factor {before} either way at 80%):"
    return [head, *narrower[:3]] if narrower else []


def _kinds(result: dict[str, Any]) -> list[str]:
    """The kinds of site and what the FLOP rest on, in one sentence."""
    if result["estimate_of"] == "declaration":
        return ["The estimate is that of the declared chips; nothing was observed that it could be compared with."]
    kinds = ", ".join(f"{k} {p:.0%}" for k, p in sorted(result["site_types"].items(), key=lambda x: -x[1]) if p >= 0.01)
    middle, most = result["flop"]["p50"], result["flop_if_ai"]["p50"]
    return [
        f"Kind of site: {kinds}. The median of FLOP rests on these weights: "
        f"{middle:.2g} as inferred, {most:.2g} if the site were built for AI."
    ]


def _declared(result: dict[str, Any]) -> list[str]:
    """What is declared beside what was observed, and their ratio."""
    declared, ratio = result["declared"], result["declared_over_estimated"]
    if not declared or not ratio:
        return []
    mw, h100e = declared["facility_mw"], declared["h100e"]
    return [
        f"Declared chips: {h100e['p50']:,.0f} H100 equivalents, {mw['p10']:,.0f} to {mw['p90']:,.0f} MW of facility "
        f"power (80%); declared over estimated: {ratio['p50']:.2g} (80%: {ratio['p10']:.2g} to {ratio['p90']:.2g})."
    ]


def _bar(q: dict[str, float]) -> str:
    """A bar of characters from p025 to p975 on a logarithmic scale, with p10, p50 and p90 marked."""
    low, high = math.log(q["p025"]), math.log(q["p975"])

    def place(v: float) -> int:
        return round((math.log(v) - low) / max(high - low, 1e-9) * (_WIDTH - 1))

    cells = ["-"] * _WIDTH
    for k in range(place(q["p10"]), place(q["p90"]) + 1):
        cells[k] = "="
    cells[place(q["p10"])], cells[place(q["p90"])], cells[place(q["p50"])] = "[", "]", "|"
    return f"  {_short(q['p025'])} {''.join(cells)} {_short(q['p975'])} MW"


def _short(value: float) -> str:
    """A number in three significant digits, or two with an exponent if it is very large or small."""
    if value != 0 and (abs(value) >= 1e7 or abs(value) < 0.01):
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

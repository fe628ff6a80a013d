"""Next observation: the one that would reduce the uncertainty of a site's power most.

In: a site's `Case`. Out: candidate observations, each with the ln-sd of IT power that would remain.
A new observation is added as a statement at the present median with the errors it would have, or it
reduces an error to the part that would remain; then the statements are combined as usual (preposterior
analysis; Raiffa and Schlaifer 1961).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from overwatt.models.reference import facts
from overwatt.pipeline.power import equipment_evidence as q
from overwatt.pipeline.power import evidence_models as e
from overwatt.pipeline.power.evidence_models import Case
from overwatt.pipeline.power.fusion import Statement, fuse, without
from overwatt.pipeline.power.lower_bound import combine
from overwatt.pipeline.power.posterior import variances

_SIZED = {
    q.UNIT: 0.20,
    q.TOWER: 0.30,
    q.DRY: 0.30,
}  # ln-sd left after one machine is measured: benchmarks/power, equipment
_COUNTED = 0.30  # unit error of machines counted and measured on a sharp image, kind unknown; own choice
_FILED = 0.15  # design power in a permit or filing, compared with what is built; own choice


@dataclass(frozen=True)
class Observation:
    """One candidate: what to do, kind ('image' or 'document'), and ln-sd of IT power before and after."""

    words: str
    kind: str
    before: float
    after: float


def next_observations(found: Case) -> list[Observation]:
    """Return the candidates that apply, the one that narrows most first."""
    before = _sd(found)
    out = []
    for words, kind, change in _candidates(found):
        others, equipment, resolved = change(list(found.others), list(found.equipment))
        statements, part = combine(others, equipment)
        changed = replace(found, statements=statements, part=part, prior_only=not resolved, excess=0.0)
        out.append(Observation(words, kind, before, min(_sd(changed), before)))
    return sorted(out, key=lambda o: (o.after, o.words))


_Statements = list[Statement]
_Change = Callable[[_Statements, _Statements], tuple[_Statements, _Statements, bool]]


def _candidates(found: Case) -> list[tuple[str, str, _Change]]:
    site, names = found.site, {s.name for s in (*found.others, *found.equipment)}
    median, slope = fuse(found.statements).median, e.ratio_slope(found.ratio)
    # whether the question "why was no cooling seen" is answered already
    seen = not found.prior_only or bool(site.cooling)
    out: list[tuple[str, str, _Change]] = []
    if "counted" not in names:
        errors = {
            q.UNIT: _COUNTED,
            q.COUNT: facts.ratio("count_error").ln_sd,
            q.DERATE: facts.ratio("derate_net").ln_sd,
        }
        errors |= {q.HIDDEN: facts.ratio("hidden_cooling").ln_sd, q.COMMON: facts.ratio("common_error").ln_sd}
        counted = Statement("counted", median, errors)
        out.append(("an image of 0.3 m on which cooling machines can be counted and measured", "image",
                    lambda o, m: (o, [*m, counted], True)))  # fmt: skip
    for source, left in _SIZED.items():
        if any(s.errors.get(source, 0.0) > left and s.name == "counted" for s in found.equipment):
            words = f"plan size of one machine from an image of 0.3 m ({source.removeprefix('the capacity of ')})"
            out.append((words, "image", _limited(source, left, seen)))
    if "outlined" in names and "counted" not in names:
        out.append(("the outline of cooling equipment drawn again on an image of 0.6 m or finer", "image",
                    _limited(q.PACKING, q.packing(0.6)[1], seen)))  # fmt: skip
    # 0.4: ln-sd within the narrowest building class (docs/methods.md, section 4.1)
    if site.building_area_m2 > 0 and site.building_class is None:
        out.append(("the class of the building (from its age, storeys and yards)", "image",
                    _limited(e.DENSITY, 0.4, seen)))  # fmt: skip
    if "generators" not in names:
        # 0.4: own choice between 0.35 of older and 0.6 of new sites (docs/methods.md, section 4.3)
        errors = {q.BACKED: 0.4, q.RATIO: slope, q.COMMON: facts.ratio("common_error").ln_sd}
        generators = Statement("generators", median, errors)
        out.append(("a count of generators", "image", lambda o, m: (o, [*m, generators], True)))
    filed = Statement("filed", median, {"what a filing leaves open": _FILED, q.RATIO: slope})
    out.append(("a permit or filing that states design power", "document", lambda o, m: ([*o, filed], m, True)))
    return out


def _limited(source: str, left: float, seen: bool) -> _Change:
    return lambda others, equipment: (without(others, source, left), without(equipment, source, left), seen)


def _sd(found: Case) -> float:
    return math.sqrt(sum(variances(found, fuse(found.statements)).values()))

"""Results of the benchmark: recall and false sites at one threshold each, AUC by size, style control, pieces.

In: roofs counted once, and looks at pictures without boxes. Out: one nested dict. Every headline is given for all
places and for each half of them, with intervals over places.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.elsewhere.counted import CENTER, LARGE_M2, OTHER, SIZE_BANDS_M2, Row, is_large
from benchmarks.elsewhere.looks import Look
from benchmarks.elsewhere.statistics import HALVES, RESAMPLES, Clusters, auc, intervals, share, threshold_at
from overwatt.models.evaluation import pieces

ONE_IN = 200
"""Strict operating point: at most one false site in so many ordinary large roofs."""
HALF = 0.5
"""Operating point of the bundled weights: their offset is set for this score."""


class Table:
    """Columns of the rows as arrays, so that resamples are fast."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.score = np.array([r.roof.score for r in rows], float)
        self.area = np.array([r.roof.area_m2 for r in rows], float)
        self.style = np.array([r.roof.style for r in rows], float)
        self.center = np.array([r.roof.klass == CENTER for r in rows], bool)
        self.other = np.array([r.roof.klass == OTHER for r in rows], bool)
        self.group = np.array([r.roof.group for r in rows], object)
        # number of the site of each row
        self.site = np.unique([r.unit for r in rows], return_inverse=True)[1] if rows else np.empty(0, int)
        self.clusters = Clusters([r.place for r in rows], [r.unit for r in rows])


def tables(rows: Sequence[Row], half: str | None = None) -> tuple[Table, Table]:
    """Return the rows of known sites, and the ordinary large roofs, of one half or of all places."""
    kept = [r for r in rows if half in (None, r.half)]
    return Table([r for r in kept if r.known]), Table([r for r in kept if not r.known and is_large(r.roof)])


def _best(known: Table, at: np.ndarray) -> np.ndarray:
    """Return the highest data-center score of each site among rows `at`; a site that is drawn twice is twice in it."""
    at = at[known.center[at]]
    best = np.full(int(known.site.max(initial=-1)) + 1, -1.0)
    np.maximum.at(best, known.site[at], known.score[at])
    # a resample repeats all rows of a site alike
    row_copies = np.bincount(at, minlength=len(known.score))
    copies = np.zeros(len(best), int)
    np.maximum.at(copies, known.site[at], row_copies[at])
    return np.repeat(best, copies)


def measures(known: Table, ordinary: Table, k: np.ndarray, o: np.ndarray) -> dict[str, float | None]:
    """Return all headline numbers of rows `k` of the known sites and rows `o` of the ordinary roofs.

    Data centers of any size count, but for the size bands and the style control.
    """
    best = _best(known, k)
    centers, edges = k[known.center[k]], k[known.other[k]]
    score, false = known.score[centers], ordinary.score[o]
    strict = threshold_at(false, ONE_IN) if len(o) else None
    out = {
        "recall": share(best, strict) if strict is not None else None,
        "recall_buildings": share(score, strict) if strict is not None else None,
        "at_half recall": share(best, HALF),
        "at_half per_large_roof": share(false, HALF),
        "at_half per_edge_building": share(known.score[edges], HALF),
        "auc": auc(score, false),
        "auc_same_frame": auc(score, known.score[edges]),
    }
    for name, low, high in bands():
        p, n = (t.score[at[(t.area[at] >= low) & (t.area[at] < high)]] for t, at in ((known, centers), (ordinary, o)))
        out[f"auc_by_size {name}"] = auc(p, n)
    # the control compares roofs of the same size classes as the scores
    style = known.style[centers[known.area[centers] >= LARGE_M2]]
    out["style_control"] = auc(style[np.isfinite(style)], _finite(ordinary.style[o]))
    for group in np.unique(ordinary.group):
        of_group = ordinary.style[o[ordinary.group[o] == group]]
        out[f"style_control {group}"] = auc(style[np.isfinite(style)], _finite(of_group))
    return out


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def bands() -> list[tuple[str, float, float]]:
    """Return name, lower and upper limit of each size band; names in thousand m2."""
    return [(f"{a / 1000:g}-{b / 1000:g}" if np.isfinite(b) else f">{a / 1000:g}", a, b) for a, b in SIZE_BANDS_M2]


def headline(rows: Sequence[Row], half: str | None = None, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return the headline results of one half of the places, or of all (None), with intervals."""
    known, ordinary = tables(rows, half)
    k, o = np.arange(len(known.score)), np.arange(len(ordinary.score))
    found = measures(known, ordinary, k, o)
    spread = intervals(
        lambda a, b: measures(known, ordinary, a, b), known.clusters, ordinary.clusters, resamples
    )  # fmt: skip
    strict = threshold_at(ordinary.score, ONE_IN) if len(o) else None
    by_place: dict[str, np.ndarray] = {}
    for place in sorted({r.place for r in known.rows}):
        of_place = np.array([i for i, r in enumerate(known.rows) if r.place == place])
        if len(best := _best(known, of_place)):
            by_place[place] = best
    halls = [r.roof.pieces for r in known.rows if r.roof.klass == CENTER]
    return {
        "recall": found["recall"],
        "recall_buildings": found["recall_buildings"],
        "per_large_roof": share(ordinary.score, strict) if strict is not None else None,
        "per_edge_building": share(known.score[known.other], strict) if strict is not None else None,
        "threshold": strict,
        "recall_by_place": {p: share(s, strict) if strict is not None else None for p, s in by_place.items()},
        "sites_by_place": {p: len(s) for p, s in by_place.items()},
        "recall_no_plant": _recall_no_plant(known, strict),
        "at_half": {
            "recall": found["at_half recall"],
            "per_large_roof": found["at_half per_large_roof"],
            "per_edge_building": found["at_half per_edge_building"],
            "threshold": HALF,
        },
        "auc": found["auc"],
        "auc_by_size": {
            name: {
                "auc": found[f"auc_by_size {name}"],
                "interval": spread.get(f"auc_by_size {name}"),
                "data_centers": int((known.center & (known.area >= low) & (known.area < high)).sum()),
                "others": int(((ordinary.area >= low) & (ordinary.area < high)).sum()),
            }
            for name, low, high in bands()
        },
        "auc_same_frame": found["auc_same_frame"],
        "style_control_auc": found["style_control"],
        "style_control": {
            n.split(" ", 1)[1]: {"auc": v, "interval": spread.get(n)}
            for n, v in found.items() if n.startswith("style_control ")
        },
        "pieces": pieces.summary(halls),
        "sites": sum(len(s) for s in by_place.values()),
        "large_roofs": len(o),
        "intervals": spread,
    }  # fmt: skip


def _recall_no_plant(known: Table, threshold: float | None) -> float | None:
    """Return the share of sites without visible plant, by their best building, at or above a threshold."""
    best: dict[str, float] = {}
    for r in known.rows:
        if r.roof.klass == "data_center_no_plant":
            best[r.unit] = max(best.get(r.unit, 0.0), r.roof.score)
    return share(list(best.values()), threshold) if threshold is not None else None


def on_ground(looks: Sequence[Look], threshold: float | None) -> dict[str, Any]:
    """Return false sites on ground without data centers at a threshold: per 1,000 km2, and by class of scene."""
    classes: dict[str, dict[str, float]] = {}
    for k in looks:
        name = k.frame.group if k.frame.boxes else f"{k.frame.group}/{k.frame.place}"
        g = classes.setdefault(name, {"false_sites": 0, "frames": 0, "km2": 0.0})
        g["false_sites"] += sum(s >= threshold for s, _ in k.found) if threshold is not None else 0
        g["frames"] += 1
        g["km2"] += k.km2
    km2 = sum(g["km2"] for g in classes.values())
    alarms = sum(g["false_sites"] for g in classes.values())
    rate = alarms / km2 * 1000 if km2 and threshold is not None else None
    return {"per_1000_km2": rate, "km2": km2, "by_class": classes}


def worst(looks: Sequence[Look], count: int = 10) -> list[dict[str, Any]]:
    """Return the highest scores of false detections, one per picture."""
    ranked = sorted(
        ((max((s for s, _ in k.found), default=0.0), str(k.frame.path), k.frame.gsd_m) for k in looks), reverse=True
    )
    seen: dict[str, dict[str, Any]] = {}
    for score, path, gsd_m in ranked:
        seen.setdefault(path, {"file": "/".join(Path(path).parts[-3:]), "gsd_m": gsd_m, "score": round(score, 3)})
    return list(seen.values())[:count]


def summary(rows: Sequence[Row], quiet: Sequence[Look], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return all results of one set of weights.

    Args:
        rows: roofs, counted once.
        quiet: looks at frames in which no data center is known.
        resamples: number of bootstrap resamples.
    """
    result = headline(rows, None, resamples)
    result |= on_ground(quiet, result["threshold"])
    ground = on_ground(quiet, HALF)
    result["at_half"] |= {k: ground[k] for k in ("per_1000_km2", "by_class")}
    split = {h: headline(rows, h, resamples) for h in HALVES}
    places = {h: sorted({r.place for r in rows if r.known and r.half == h}) for h in HALVES}
    result["halves"] = {
        h: {"places": places[h], **split[h], "at_other_threshold": _at_threshold(rows, h, split[o]["threshold"])}
        for h, o in zip(HALVES, HALVES[::-1], strict=True)
    }
    return result | {"recall_without": _recall_without(rows), "worst": worst(quiet)}


def _recall_without(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the recall at the strict point if one set of ordinary roofs is left out: a few roofs may decide it."""
    out = {}
    for group in sorted({r.roof.group for r in rows if not r.known}):
        known, ordinary = tables([r for r in rows if r.roof.group != group])
        everything = np.arange(len(known.score)), np.arange(len(ordinary.score))
        out[group] = measures(known, ordinary, *everything)["recall"]
    return out


def _at_threshold(rows: Sequence[Row], half: str, threshold: float | None) -> dict[str, float | None]:
    """Return recall and false sites of one half at the strict threshold of the other, which had no part in it."""
    known, ordinary = tables(rows, half)
    if threshold is None:
        return {"threshold": None, "recall": None, "per_large_roof": None}
    best = _best(known, np.arange(len(known.score)))
    return {
        "threshold": threshold,
        "recall": share(best, threshold),
        "per_large_roof": share(ordinary.score, threshold),
    }


def at_recall(rows: Sequence[Row], quiet: Sequence[Look], recall: float) -> dict[str, Any] | None:
    """Return the operating point at which this share of the sites is found; None without sites."""
    known, ordinary = tables(rows)
    best = np.sort(_best(known, np.arange(len(known.score))))[::-1]
    if not len(best):
        return None
    level = float(best[min(len(best) - 1, max(0, round(recall * len(best)) - 1))])
    ground = on_ground(quiet, level)
    return {
        "recall": share(best, level),
        "threshold": level,
        "per_large_roof": share(ordinary.score, level),
        "per_1000_km2": ground["per_1000_km2"],
        "by_class": ground["by_class"],
    }

"""Scored roofs with each roof and each site counted once.

In: the looks at all frames with boxes. Out: a table of rows, one per roof. Known sites are the rows of data sets in
which any box is a data center; all other data sets are ordinary ground.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.elsewhere.looks import Look, Roof
from benchmarks.elsewhere.overlaps import Overlap, joined, overlaps, same_roofs
from benchmarks.elsewhere.statistics import halves

CENTER, OTHER = "data_center", "other_building"
SIZE_BANDS_M2 = ((3_000, 6_000), (6_000, 12_000), (12_000, 25_000), (25_000, float("inf")))
LARGE_M2 = 3_000.0
"""Large roofs: smaller ones are not among the ordinary roofs that false sites are counted on."""


@dataclass(frozen=True)
class Row:
    """A roof that is counted once.

    Attributes:
        roof: the view of it with the largest imaged area.
        known: whether it is of a data set of known sites.
        place: what is resampled first: the place of a known site, the data set of ordinary ground.
        unit: what is resampled within a place: a site (pictures of one data center are one site), or the pictures of
            ordinary ground that overlap.
        half: 'choose' or 'report'.
    """

    roof: Roof
    known: bool
    place: str
    unit: str
    half: str


def rows_of(looks: Sequence[Look], cache: Path | None = None) -> tuple[list[Row], dict[str, int]]:
    """Return the roofs, each once, and how often roofs and sites were seen twice.

    Args:
        looks: results of frames with boxes.
        cache: folder that keeps which frames overlap.
    """
    groups: dict[str, list[Look]] = {}
    for k in looks:
        groups.setdefault(k.frame.group, []).append(k)
    raw: list[tuple[Roof, bool, str, str]] = []
    twice = {"roofs": 0, "sites": 0}
    for group, members in groups.items():
        known = any(r.klass == CENTER for k in members for r in k.roofs)
        found = _overlaps(members, cache)
        number = same_roofs([k.frame for k in members], found)
        seen = [(i, r) for i, k in enumerate(members) for r in k.roofs]
        kept = _largest(seen, number)
        twice["roofs"] += len(seen) - len(kept)
        unit = _sites(members, seen, number) if known else _units(members, found)
        if known:
            sites = {i for i, r in seen if r.klass == CENTER}
            twice["sites"] += len(sites) - len({int(unit[i]) for i in sites})
        for i, r in kept:
            raw.append((r, known, r.place if known else group, f"{group} {unit[i]}"))
    half = _halves(raw)
    return [Row(*row, half[_half_key(row)]) for row in raw], twice


def _largest(seen: Sequence[tuple[int, Roof]], number: np.ndarray) -> list[tuple[int, Roof]]:
    """Return for each roof the view with the largest imaged area, the first of equal ones."""
    best: dict[int, tuple[int, Roof]] = {}
    for (i, r), n in zip(seen, number, strict=True):
        if n not in best or r.area_m2 > best[n][1].area_m2:
            best[int(n)] = (i, r)
    return list(best.values())


def _sites(members: Sequence[Look], seen: Sequence[tuple[int, Roof]], number: np.ndarray) -> np.ndarray:
    """Return the site number of each frame: frames that show one and the same data center are one site."""
    first: dict[int, int] = {}
    pairs = []
    for (i, r), n in zip(seen, number, strict=True):
        if r.klass == CENTER:
            pairs.append((first.setdefault(int(n), i), i))
    return joined(len(members), pairs)


def _units(members: Sequence[Look], found: Sequence[Overlap]) -> np.ndarray:
    """Return the unit of each frame: frames that overlap, or are said to in the listing of the data set."""
    first: dict[str, int] = {}
    pairs = [(o.a, o.b) for o in found]
    pairs += [(first.setdefault(k.frame.unit, i), i) for i, k in enumerate(members) if k.frame.unit]
    return joined(len(members), pairs)


def _half_key(row: tuple[Roof, bool, str, str]) -> tuple[str, str]:
    roof, known, place, unit = row
    return roof.group, place if known else unit


def _halves(raw: Sequence[tuple[Roof, bool, str, str]]) -> dict[tuple[str, str], str]:
    """Return the half of each place of known sites, and of each unit of ordinary ground.

    Each data set is split by itself, so that both halves get roofs of each city. Even are: sites of known sites, roofs
    of ordinary ground; their numbers in each size band; and the number of places.
    """
    counted: dict[str, dict[tuple[str, str], list[tuple[Roof, str]]]] = {}
    for i, row in enumerate(raw):
        roof, known, _, unit = row
        things = counted.setdefault(roof.group, {}).setdefault(_half_key(row), [])
        if roof.klass == CENTER if known else is_large(roof):
            things.append((roof, unit if known else str(i)))
    out: dict[tuple[str, str], str] = {}
    for places in counted.values():
        out |= halves(
            {
                key: (len({name for _, name in things}), *_by_band([r for r, _ in things]), 1)
                for key, things in places.items()
            }
        )
    return out


def _by_band(roofs: Sequence[Roof]) -> list[int]:
    return [sum(low <= r.area_m2 < high for r in roofs) for low, high in SIZE_BANDS_M2]


def is_large(roof: Roof) -> bool:
    """Return whether this is an ordinary building of at least `LARGE_M2`."""
    return roof.klass == OTHER and roof.area_m2 >= LARGE_M2


def _overlaps(members: Sequence[Look], cache: Path | None) -> list[Overlap]:
    """Return the overlaps of the frames of a data set, from the cache if it has them."""
    frames = [k.frame for k in members]
    if cache is None:
        return overlaps(frames)
    digest = hashlib.sha256(Path(__file__).with_name("overlaps.py").read_bytes())
    for f in frames:
        digest.update(f"{f.path.name} {f.gsd_m} {hashlib.sha256(f.path.read_bytes()).hexdigest()}".encode())
    file = cache / f"overlaps-{digest.hexdigest()[:32]}.json"
    try:
        return [Overlap(**o) for o in json.loads(file.read_bytes())]
    except (OSError, ValueError, TypeError):
        found = overlaps(frames)
        file.write_text(json.dumps([asdict(o) for o in found]))
        return found

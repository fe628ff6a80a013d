"""`overwatt training-set`: build a training set from real imagery and registries.

In: a settings file (registries of data centers, building footprints, counties, a STAC catalogue).
Out, in the output folder: GeoTIFF tiles with masks and one index, in the layout of `overwatt.models.training.tileset`;
`planned.parquet` with the outcome of every tile; ATTRIBUTION.md; training_set.json. Each tile is stored as a part
under a key of everything that it depends on. The same command therefore completes a stopped or partly failed build,
and fetches no finished tile again.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import CatalogError, ConfigError, OverwattError
from overwatt.aoi.geodesy import WGS84
from overwatt.models.training import tileset
from overwatt.models.training.sampling_design import Cut
from overwatt.models.training.spatial_splits import SPLITS, leaks
from overwatt.workflows.io import run_folder
from overwatt.workflows.national import plan as training_plan
from overwatt.workflows.national import tile
from overwatt.workflows.national.imagery import fetch
from overwatt.workflows.national.plan import Plan, Say, TrainingSetFile
from overwatt.workflows.national.sources import in_zone, not_outlined, read_roofs

log = logging.getLogger(__name__)

Tick = Callable[[int, int, int], None]
"""Receives the numbers of tiles done, failed and in total."""

_SHARE_ALIKE = re.compile(r"ODbL|BY-SA|GPL|share.?alike", re.IGNORECASE)
# Own choice: after so many failures without one success the catalogue is unreachable; thousands of tiles need not try.
_GIVE_UP_AFTER = 10
_CODE = 1  # version of the code that a tile's bits depend on; raise it when rasterizing or reading changes
_TILE_KEY = re.compile(r"^[0-9a-f]{24}$")


@dataclass(frozen=True)
class _Job:
    """One tile to make: the cut, its labels, and the key that it is stored under."""

    cut: Cut
    key: str
    centers: tuple[BaseGeometry, ...]
    others: tuple[BaseGeometry, ...]
    unknown: tuple[BaseGeometry, ...]


def plan(settings_path: Path, *, say: Say) -> dict[str, Any]:
    """Return what a settings file would produce and what it costs; no address is contacted.

    Raises:
        ConfigError: the settings are unusable.
        RegistryError: a file that they name is unusable.
    """
    settings = training_plan.load(settings_path)
    return training_plan.cost(training_plan.make(settings, settings_path.resolve().parent, say))


def build(settings_path: Path, out: Path, *, say: Say, tick: Tick | None = None) -> dict[str, Any]:
    """Build the training set, or complete a build that was stopped.

    Args:
        settings_path: settings file, see `TrainingSetFile`.
        out: output folder.
        say: receives progress lines.
        tick: receives counts of tiles; see `Tick`.

    Returns:
        A summary for `--json`; `failed` names the tiles that could not be made, with reasons.

    Raises:
        ConfigError: the settings are unusable.
        RegistryError: a file that they name is unusable.
        CatalogError: the catalogue cannot be used at all.
    """
    settings = training_plan.load(settings_path)
    if not settings.footprints or settings.counties is None:
        what = "counties" if settings.footprints else "footprints"
        raise ConfigError(f"{settings_path.name}: '{what}' is missing; --plan works without it, a build does not")
    with run_folder.locked(out):
        made = training_plan.make(settings, settings_path.resolve().parent, say)
        for line in training_plan.cost_lines(training_plan.cost(made)):
            say(line)
        jobs = _jobs(made, say)
        outcomes = _make_all(made, jobs, out, say, tick)
        return _finish(made, jobs, outcomes, out)


def attribution(plan_: Plan) -> tuple[str, str, bool]:
    """Return licence, attribution, and whether a share-alike licence applies to the labels.

    The labels of a tile depend on what each file contains there and on what it does not contain, so every tile
    carries the terms of all files.
    """
    terms = _terms(plan_)
    return (
        "; ".join(f"{what}: {licence}" for what, licence, _ in terms),
        "; ".join(dict.fromkeys(credit for _, _, credit in terms if credit)),
        any(_SHARE_ALIKE.search(licence) for _, licence, _ in terms),
    )


def _terms(plan_: Plan) -> list[tuple[str, str, str]]:
    """Source, licence and credit of everything that a tile is made from."""
    s = plan_.settings
    return [
        (f"imagery {s.imagery.collection}", s.imagery.licence, s.imagery.attribution),
        *((f"labels {r.path.name}", *r.terms(r.format)) for r in s.registry),
        *((f"labels {f.path.name}", *f.terms(f.source)) for f in s.footprints),
    ]


def summary_lines(result: dict[str, Any]) -> list[str]:
    """Return a summary of `build` as lines of text."""
    counts = ", ".join(f"{n:,} {name}" for name, n in result["by_split"].items())
    lines = [f"{result['tiles']:,} tiles ({counts}): {result['index']}", "leak check: no ground is in two splits"]
    if result["set_aside"]:
        lines.append(f"{len(result['set_aside']):,} tiles set aside: {_first(result['set_aside'])}")
    if result["failed"]:
        lines.append(
            f"{len(result['failed']):,} tiles failed: {_first(result['failed'])}; run the same command again to retry"
        )
    if result["share_alike"]:
        lines.append(
            f"a share-alike licence applies to these labels: read {result['attribution']} before you publish them"
        )
    return lines


def _first(named: dict[str, str]) -> str:
    """The first tile with its reason, as an example."""
    name, why = next(iter(named.items()))
    return f"{name} ({why})" + (" and others" if len(named) > 1 else "")


def _jobs(plan_: Plan, say: Say) -> list[_Job]:
    """The labels of each tile: all buildings that touch it, read in a second pass without a size limit."""
    s = plan_.settings
    frames = [c.footprint for c in plan_.cuts]
    roofs = read_roofs([plan_.base / f.path for f in s.footprints], frames, min_area_m2=0.0, say=say)
    other, zone = not_outlined(roofs, plan_.registry), in_zone(roofs, plan_.registry)
    # buildings below the sampled size or in an unknown zone become unknown ground
    large = roofs.area_m2 >= s.sampling.min_area_m2
    trees = [
        shapely.STRtree(list(shapes))
        for shapes in (
            plan_.registry.outlines,
            roofs.shapes[other & large & ~zone],
            [*plan_.registry.zones, *roofs.shapes[other & (zone | ~large)]],
        )
    ]
    # only settings that change pixels belong into the key
    pixel_settings = s.imagery.model_dump(exclude={"source_gsd_m", "block_px", "licence", "attribution"})
    jobs = []
    for cut in plan_.cuts:
        layers = [tuple(t.geometries[i] for i in sorted(t.query(cut.footprint, "intersects").tolist())) for t in trees]
        outlines = [shapely.to_wkb(list(shapes)) for shapes in layers]
        # the labels are part of the key: a changed registry makes only the tiles stale whose labels change
        key = run_folder.key(
            _CODE, cut.crs, cut.centre_m, cut.side_m, sorted(pixel_settings.items()), s.tiles.min_valid,
            [[w.hex() for w in part] for part in outlines],
        )  # fmt: skip
        jobs.append(_Job(cut, key, *layers))
    return jobs


def _make_all(plan_: Plan, jobs: list[_Job], out: Path, say: Say, tick: Tick | None) -> dict[str, dict[str, Any]]:
    """Make the tiles that are not stored yet; return the outcome of each, by name.

    Raises:
        CatalogError: the first tiles all failed.
    """
    outcomes = {job.cut.name: kept for job in jobs if (kept := _part(out, job)) is not None}
    if outcomes:
        say(f"{len(outcomes):,} tiles are stored already")
    left = [job for job in jobs if job.cut.name not in outcomes]
    log.debug("%d tiles reused, %d to make, %d processes", len(outcomes), len(left), plan_.settings.workers)
    failed = 0
    for job, outcome in _made(plan_.settings, left, out):
        outcomes[job.cut.name] = outcome
        log.debug("tile %s, key %s: %s", job.cut.name, job.key, outcome["state"])
        if outcome["state"] == "failed":
            failed += 1
            say(f"tile {job.cut.name} failed: {outcome['reason']}")
            # no tile has succeeded so far, and more are left than were tried
            if failed == len(outcomes) == _GIVE_UP_AFTER < len(left):
                raise CatalogError(f"the first {failed} tiles all failed; the last: {outcome['reason']}")
        if tick:
            tick(len(outcomes) - failed, failed, len(jobs))
    return outcomes


def _made(settings: TrainingSetFile, jobs: list[_Job], out: Path) -> Iterator[tuple[_Job, dict[str, Any]]]:
    """Make tiles in parallel processes; yields each in the order of completion."""
    if settings.workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _make(settings, job, out)
        return
    with ProcessPoolExecutor(min(settings.workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        try:
            waiting = {pool.submit(_make, settings, job, out): job for job in jobs}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:  # also Ctrl-C: do not wait for tiles that nobody will use
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _part(out: Path, job: _Job) -> dict[str, Any] | None:
    """The outcome that an earlier build stored for a tile; None if there is none, or if its files are damaged."""
    try:
        known: dict[str, Any] = json.loads((out / "parts" / f"{job.key}.json").read_text(encoding="utf-8"))
        usable = known["state"] == "set aside" or tile.intact(out, known["row"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("tile %s: its stored outcome cannot be read (%s); it is made again", job.cut.name, error)
        return None
    return known if usable else None


def _make(settings: TrainingSetFile, job: _Job, out: Path) -> dict[str, Any]:
    """Fetch, rasterize and store one tile; return its outcome."""
    try:
        pixels = fetch(job.cut, settings.imagery)
    except OverwattError as error:
        return {"state": "failed", "reason": str(error)}  # not stored, so the next build tries again
    share, least = float(pixels.valid.mean()), settings.tiles.min_valid
    outcome: dict[str, Any] = {"items": list(pixels.items), "date": pixels.date, "valid_share": round(share, 4)}
    if share < least or share == 0:
        outcome |= {"state": "set aside", "reason": f"{share:.0%} of it has imagery, tiles.min_valid is {least:.0%}"}
    else:
        row = tile.write(out, job.key, pixels, job.centers, job.others, job.unknown)
        outcome |= {"state": "done", "reason": "", "row": row}
    run_folder.write_json(out / "parts" / f"{job.key}.json", outcome)
    return outcome


def _finish(plan_: Plan, jobs: list[_Job], outcomes: dict[str, dict[str, Any]], out: Path) -> dict[str, Any]:
    """Check for leaks between splits, then write index, outcomes and credits.

    Raises:
        CatalogError: no tile could be made.
        ConfigError: tiles of different splits share ground.
    """
    licence, credit, share_alike = attribution(plan_)
    s = plan_.settings
    files = [*(r.path.name for r in s.registry), *(f.path.name for f in s.footprints)]
    rows = [
        known["row"]
        | {
            "split": job.cut.split, "place": job.cut.county, "sites": " ".join(job.cut.roofs),
            "guard_m": s.splits.guard_m, "weight": 1.0, "rank": rank, "licence": licence, "attribution": credit,
            "label_source": "; ".join(files), "geometry": shapely.from_wkt(known["row"]["geometry"]),
        }
        for rank, job in enumerate(jobs, start=1)
        if (known := outcomes[job.cut.name])["state"] == "done"
    ]  # fmt: skip
    if not rows:
        name, known = next(iter(outcomes.items()))
        raise CatalogError(f"none of {len(jobs)} tiles could be made; {name}: {known['reason']}")
    index = tileset.conform(rows)
    if found := leaks(index, s.splits.guard_m):
        raise ConfigError(
            f"{len(found)} leaks between splits; the first: {found[0].kind}, tiles {found[0].first} and "
            f"{found[0].second}, {found[0].detail}; raise splits.guard_m, or check the catalogue"
        )
    _remove_stale(out, {job.key for job in jobs}, set(index["tile_id"]))
    path = out / tileset.INDEX_NAME
    with run_folder.written(path) as part:
        index.to_parquet(part, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    log.debug("index: %d rows in %s, state of %d planned tiles", len(index), path, len(jobs) + len(plan_.aside))
    run_folder.write_table(out, "planned", _planned(plan_, jobs, outcomes))
    run_folder.write_text(out / "ATTRIBUTION.md", _credits(plan_, share_alike))
    splits = Counter(index["split"])
    result = {
        "index": str(path),
        "attribution": str(out / "ATTRIBUTION.md"),
        "tiles": len(index),
        "by_split": {name: splits[name] for name in SPLITS},
        "by_place": dict(sorted(Counter(index["place"]).items())),
        "pixels": {c: int(index[c].sum()) for c in tileset.COUNTS},
        "leaks": 0,
        "share_alike": share_alike,
        "licence": licence,
        "set_aside": _named(outcomes, "set aside") | {c.name: "near a tile of another split" for c in plan_.aside},
        "failed": _named(outcomes, "failed"),
        "plan": training_plan.cost(plan_),
    }
    run_folder.write_json(out / "training_set.json", result | {"settings": s.model_dump(mode="json")})
    return result


def _named(outcomes: dict[str, dict[str, Any]], state: str) -> dict[str, str]:
    """Tiles in a state, with reasons."""
    return {name: known["reason"] for name, known in sorted(outcomes.items()) if known["state"] == state}


def _planned(plan_: Plan, jobs: list[_Job], outcomes: dict[str, dict[str, Any]]) -> gpd.GeoDataFrame:
    """Every planned tile with its outcome."""
    rows = [
        {
            "tile": cut.name, "tile_id": key, "role": cut.role, "county": cut.county, "split": cut.split,
            "state": known["state"], "reason": known["reason"], "items": " ".join(known.get("items", ())),
            "date": known.get("date", ""), "valid_share": known.get("valid_share"), "roofs": " ".join(cut.roofs),
            "geometry": cut.footprint,
        }
        for cut, key, known in [
            *((job.cut, job.key, outcomes[job.cut.name]) for job in jobs),
            *((cut, "", {"state": "set aside", "reason": "near a tile of another split"}) for cut in plan_.aside),
        ]
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"valid_share": "float64"})
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _credits(plan_: Plan, share_alike: bool) -> str:
    """Text of ATTRIBUTION.md."""
    s = plan_.settings
    lines = [f"# Sources of the training set {s.name}", "", "| source | licence | credit |", "|---|---|---|"]
    for what, licence, credit in _terms(plan_):
        cells = (re.sub(r"[\s|<>`]+", " ", text).strip() for text in (what, licence, credit))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Every row of the index states the same terms in its columns `licence` and `attribution`."]
    if share_alike:
        lines += [
            "",
            "A share-alike licence applies to the labels (masks, index): whoever publishes them, changed or not, must "
            "use that licence and give these credits. The pictures keep the licence of the imagery. Whether the "
            "licence also applies to weights trained on such labels is not settled; ask before you publish them "
            "under other terms.",
        ]
    return "\n".join(lines) + "\n"


def _remove_stale(out: Path, parts: set[str], tiles: set[str]) -> None:
    """Remove tiles of an earlier build that are not in this one; files with other names stay."""
    for folder, suffix, current in (("parts", "json", parts), ("pictures", "tif", tiles), ("masks", "tif", tiles)):
        for path in (out / folder).glob(f"*.{suffix}"):
            if _TILE_KEY.match(path.stem) and path.stem not in current:
                path.unlink()

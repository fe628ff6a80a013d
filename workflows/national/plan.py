"""Plan of a national training set: its tiles and its cost, before anything is fetched.

In: a settings file. Out: the tiles to cut, by county and split, the counts of what is missing or left out, and an
estimate of requests and bytes. No address is contacted. Paths in the file are relative to it.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field, model_validator
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import ConfigError
from overwatt.models.training.sampling_design import (  # fmt: skip
    SPLITS,
    Cut,
    Shares,
    Split,
    Target,
    areas_m2,
    cut_tiles,
    match,
    neighbours,
    roof_ids,
    size_bands,
    split_of,
    without_leaks,
)
from overwatt.workflows.config.yaml import load_yaml
from overwatt.workflows.national.imagery import ImagerySource
from overwatt.workflows.national.sources import (  # fmt: skip
    Registry,
    RegistryFormat,
    Roofs,
    apart,
    counties_of,
    not_outlined,
    read_counties,
    read_registry,
    read_roofs,
)

log = logging.getLogger(__name__)

Say = Callable[[str], None]
OSM = "© OpenStreetMap contributors"
KNOWN = {
    "im3": ("ODbL-1.0", f"{OSM}; IM3 Open Source Data Center Atlas, Pacific Northwest National Laboratory"),
    "osm": ("ODbL-1.0", OSM),
    "microsoft": ("ODbL-1.0", "Microsoft Building Footprints"),
    "overture": ("ODbL-1.0", f"{OSM}; Overture Maps Foundation, with the sources it names for each building"),
}
"""Licence and credit of known sources, as their publishers state them."""
# Requests per tile in addition to its pixels, as counted on a loopback server: the catalogue's landing page twice, the
# search, and two to open the file.
_REQUESTS = 5
_READS = 3  # the loader reads red, green and blue separately, although one file contains all three
_HEADER_BYTES = 65_536  # own choice: a generous size of a GeoTIFF header
_SEARCH_BYTES = 60_000  # landing page and ten items of the size that the Planetary Computer returns
# A tile on the lattice of an image in the neighbouring UTM zone is rotated against the planned tile by 6 degrees times
# the sine of its latitude (grid convergence), 4.2 degrees at 45 N. Its corners move by 5% of its side, and this may
# happen to both tiles of a pair.
_SLACK = 0.1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Labels(_Frozen):
    """A file that labels are made from."""

    path: Path = Field(description="relative to this file")
    licence: str = Field(default="", description="licence of the file, if the source is not a known one")
    attribution: str = Field(default="", description="credit, if the source is not a known one")

    def terms(self, kind: str) -> tuple[str, str]:
        """Return licence and attribution: those in the settings, else those known for this kind of source."""
        licence, attribution = KNOWN.get(kind, ("", ""))
        return self.licence or licence, self.attribution or attribution


class RegistrySettings(_Labels):
    """Outlines of data centers."""

    format: RegistryFormat = Field(default="auto", description="im3, osm (Overpass `out geom` or GeoJSON), own or auto")

    @model_validator(mode="after")
    def _stated(self) -> RegistrySettings:
        if self.format not in KNOWN and not self.licence:
            raise ValueError(f"registry {self.path.name}: state its licence (known only for im3 and osm)")
        return self


class FootprintSettings(_Labels):
    """Outlines of buildings."""

    source: Literal["overture", "microsoft", "osm", "own"] = Field(description="publisher of the footprints")

    @model_validator(mode="after")
    def _stated(self) -> FootprintSettings:
        if self.source == "own" and not self.licence:
            raise ValueError(f"footprints {self.path.name}: state its licence (known only for the other sources)")
        return self


class CountySettings(_Frozen):
    """The areas that the split is made by."""

    path: Path = Field(description="GeoJSON, GeoPackage or GeoParquet, relative to this file")
    key: str = Field(default="GEOID", description="column with a permanent identifier of each county")


class SamplingSettings(_Frozen):
    """Which roofs are sampled."""

    others_per_data_center: int = Field(default=3, ge=0, le=100, description="other roofs per data center")
    bands_per_doubling: float = Field(default=1.0, gt=0, le=8, description="size bands per doubling of the area")
    min_area_m2: float = Field(default=1000, gt=0, description="smaller buildings become unknown ground")
    clear_m: float = Field(default=300, ge=0, description="least distance of a sampled roof from the registry, metres")
    point_zone_m: float = Field(
        default=150, gt=0, le=5000, description="radius of unknown ground around a point of a registry, metres"
    )


class TileSettings(_Frozen):
    """Size and validity of tiles."""

    side_m: float = Field(default=512, gt=0, le=5000, description="side of a tile in metres")
    min_valid: float = Field(default=0.5, ge=0, le=1, description="least share of a tile with imagery")


class SplitSettings(_Frozen):
    """Splits by county."""

    val: float = Field(default=0.15, ge=0, lt=1, description="share of counties")
    test: float = Field(default=0.15, ge=0, lt=1, description="share of counties")
    guard_m: float = Field(default=200, ge=0, description="least distance between tiles of different splits, metres")
    fixed: dict[str, Split] = Field(default_factory=dict, description="split of a county, set by hand")

    @model_validator(mode="after")
    def _rest(self) -> SplitSettings:
        if self.val + self.test >= 1:
            raise ValueError(f"splits: val {self.val:g} and test {self.test:g} leave nothing for training")
        return self


class TrainingSetFile(_Frozen):
    """Settings of a national training set."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0, description="seed of the choice of roofs and of the splits")
    registry: tuple[RegistrySettings, ...] = Field(min_length=1)
    footprints: tuple[FootprintSettings, ...] = Field(default=(), description="required to build, not for --plan")
    counties: CountySettings | None = Field(default=None, description="required to build, not for --plan")
    imagery: ImagerySource
    sampling: SamplingSettings = SamplingSettings()
    tiles: TileSettings = TileSettings()
    splits: SplitSettings = SplitSettings()
    workers: int = Field(default=4, ge=1, le=32, description="tiles fetched at once; does not change results")


@dataclass(frozen=True)
class Plan:
    """The tiles to cut, and what was left out.

    Attributes:
        settings: as read.
        base: folder that its paths are relative to.
        cuts: tiles, data centers first.
        aside: tiles that are too close to a tile of another split.
        registry: all registries combined.
        missing: number of other roofs that were requested and do not exist.
        outside: number of data centers in no county.
        small: number of data centers below the least area.
        centers: number of data centers that have tiles.
        at_most: no footprints were given, so all requested other roofs are counted: the cost is an upper bound.
    """

    settings: TrainingSetFile
    base: Path
    cuts: tuple[Cut, ...]
    aside: tuple[Cut, ...]
    registry: Registry
    missing: int
    outside: int
    small: int
    centers: int
    at_most: bool


def load(path: Path, assignments: list[str] | None = None) -> TrainingSetFile:
    """Read a settings file.

    Raises:
        ConfigError: broken YAML, an unknown key, a wrong value.
    """
    return load_yaml(path, TrainingSetFile, assignments, paths=("path",))


def make(settings: TrainingSetFile, base: Path, say: Say) -> Plan:
    """Choose roofs, tiles and splits.

    Args:
        settings: the settings file.
        base: folder that its paths are relative to.
        say: receives progress lines.

    Raises:
        ConfigError: `splits.fixed` names an unknown county, or no data center is left.
        RegistryError: a file is unreadable.
    """
    s = settings.sampling
    read = [read_registry(base / r.path, r.format, point_zone_m=s.point_zone_m) for r in settings.registry]
    registry = Registry(tuple(_unique([g for r in read for g in r.outlines])), tuple(z for r in read for z in r.zones))
    say(f"registry: {len(registry.outlines):,} outlines, {len(registry.zones):,} unknown zones")
    counties = read_counties(base / settings.counties.path, settings.counties.key) if settings.counties else {}
    if unknown := sorted(set(settings.splits.fixed) - set(counties)) if counties else []:
        raise ConfigError(
            f"splits.fixed: county '{unknown[0]}' is not in {settings.counties and settings.counties.path}"
        )
    centers, outside, small = _centers(registry, counties, s.min_area_m2)
    if not centers:
        raise ConfigError(
            f"{settings.name}: no data-center outline of {s.min_area_m2:g} m² or more lies in a county; "
            f"the registry has {len(registry.outlines)} outlines"
        )
    shares = Shares(settings.splits.val, settings.splits.test)
    split = {c: split_of(c, settings.seed, shares, settings.splits.fixed) for c in counties} or {"": "train"}
    neighbouring = neighbours(counties)
    others, missing = _others(settings, base, registry, centers, counties, neighbouring, split, say)
    cuts = cut_tiles([*centers, *others], split, settings.tiles.side_m)
    guard_m = settings.splits.guard_m + _SLACK * settings.tiles.side_m
    kept, aside = without_leaks(cuts, guard_m)
    log.debug("plan: %d data centers, %d other roofs, %d tiles, %d set aside, guard %.0f m",
              len(centers), len(others), len(kept), len(aside), guard_m)  # fmt: skip
    return Plan(
        settings, base, tuple(kept), tuple(aside), registry, missing, outside, small, len(centers),
        at_most=not settings.footprints,
    )  # fmt: skip


def cost(plan: Plan) -> dict[str, Any]:
    """Estimate requests and bytes of a plan; no address is contacted.

    Bytes read are an upper bound: those of uncompressed blocks, while files are stored compressed. A tile at a random
    position on a lattice of blocks touches (side / block + 1)² blocks on average, each row of them in one request.
    """
    s = plan.settings
    tiles = len(plan.cuts) + (plan.missing if plan.at_most else 0)
    gsd_m = s.imagery.gsd_m or s.imagery.source_gsd_m
    # coarser tiles are read from overviews, each with twice the pixel size of the one before
    level = 2 ** max(0, math.floor(math.log2(gsd_m / s.imagery.source_gsd_m) + 1e-9))
    across = s.tiles.side_m / (s.imagery.source_gsd_m * level) / s.imagery.block_px
    blocks = (across + 1) ** 2
    block_bytes = s.imagery.block_px**2 * len(s.imagery.bands)
    side_px = round(s.tiles.side_m / gsd_m)
    splits = Counter(c.split for c in plan.cuts)
    return {
        "tiles": tiles,
        "tiles_at_most": plan.at_most,
        "tiles_data_center": sum(c.role == "data_center" for c in plan.cuts),
        "data_centers": plan.centers,
        "by_split": {name: splits[name] for name in SPLITS} if s.counties else None,
        "counties": len({c.county for c in plan.cuts}) if s.counties else None,
        "set_aside_near_another_split": len(plan.aside),
        "other_roofs_missing": 0 if plan.at_most else plan.missing,
        "data_centers_outside_counties": plan.outside,
        "data_centers_too_small": plan.small,
        "requests": round(tiles * (_REQUESTS + _READS * (across + 1))),
        "bytes_read_at_most": round(tiles * (_READS * blocks * block_bytes + _HEADER_BYTES + _SEARCH_BYTES)),
        "bytes_written_at_most": tiles * side_px**2 * (4 + 6),  # four 8-bit bands, three 16-bit bands
        "gsd_m": gsd_m,
        "tile_px": side_px,
    }


def cost_lines(result: dict[str, Any]) -> list[str]:
    """Return a cost of `cost` as lines of text."""
    most = "at most " if result["tiles_at_most"] else ""
    lines = [
        f"{most}{result['tiles']:,} tiles of {result['tile_px']} pixels per side at {result['gsd_m']:g} m, "
        f"{result['tiles_data_center']:,} of them for {result['data_centers']:,} data centers",
        f"about {result['requests']:,} requests, at most {result['bytes_read_at_most'] / 1e9:.1f} GB read "
        f"and {result['bytes_written_at_most'] / 1e9:.1f} GB written",
    ]
    if result["by_split"]:
        lines.append(
            f"{result['counties']} counties: " + ", ".join(f"{n:,} {name}" for name, n in result["by_split"].items())
        )
    for key, words in (
        ("set_aside_near_another_split", "tiles set aside: too close to a tile of another split"),
        ("other_roofs_missing", "other roofs missing: no more of that size in the county or its neighbours"),
        ("data_centers_outside_counties", "data centers left out: outside of all counties"),
        ("data_centers_too_small", "data centers left out: below sampling.min_area_m2"),
    ):
        if result[key]:
            lines.append(f"{result[key]:,} {words}")
    return lines


def _unique(shapes: list[BaseGeometry]) -> list[BaseGeometry]:
    """Outlines without duplicates: several registries may contain the same one."""
    array = np.empty(len(shapes), object)
    array[:] = shapes
    return list(dict(zip(roof_ids(array), shapes, strict=True)).values())


def _centers(
    registry: Registry, counties: dict[str, BaseGeometry], min_area_m2: float
) -> tuple[list[Target], int, int]:
    """Data centers that get tiles, sorted, and how many lie outside of all counties or are too small."""
    shapes = np.empty(len(registry.outlines), object)
    shapes[:] = registry.outlines
    area = areas_m2(shapes)
    places = counties_of(list(shapes), counties) if counties else [""] * len(shapes)
    rows = [
        Target(name, "data_center", place, float(m2), shape)
        for name, place, m2, shape in zip(roof_ids(shapes), places, area, shapes, strict=True)
        if place is not None and m2 >= min_area_m2
    ]
    outside = sum(place is None for place in places)
    return sorted(rows, key=lambda t: (t.county, t.roof)), outside, len(shapes) - outside - len(rows)


def _others(
    settings: TrainingSetFile,
    base: Path,
    registry: Registry,
    centers: list[Target],
    counties: dict[str, BaseGeometry],
    neighbouring: dict[str, tuple[str, ...]],
    split: dict[str, Split],
    say: Say,
) -> tuple[list[Target], int]:
    """Other roofs matched to the data centers by size and county, and how many are missing."""
    s = settings.sampling
    if not (settings.footprints and counties):
        return [], len(centers) * s.others_per_data_center
    own = {c.county for c in centers}
    names = sorted(own | {n for c in own for n in neighbouring[c]})
    roofs = read_roofs(
        [base / f.path for f in settings.footprints], [counties[n] for n in names], min_area_m2=s.min_area_m2, say=say
    )
    bands = set(size_bands(np.array([c.area_m2 for c in centers]), s.bands_per_doubling).tolist())
    # candidates: not a data center, not close to one, and of a size band that some data center has
    free = apart(roofs, registry, s.clear_m) & not_outlined(roofs, registry)
    free &= np.isin(size_bands(roofs.area_m2, s.bands_per_doubling), list(bands))
    candidates = _targets(roofs, np.flatnonzero(free), {n: counties[n] for n in names})
    return match(
        centers, candidates, neighbouring, split,
        per_center=s.others_per_data_center, per_doubling=s.bands_per_doubling, seed=settings.seed,
    )  # fmt: skip


def _targets(roofs: Roofs, at: np.ndarray, counties: dict[str, BaseGeometry]) -> list[Target]:
    """Roofs at given indices that lie in a county, as targets."""
    places = counties_of(list(roofs.shapes[at]), counties)
    return [
        Target(roofs.ids[i], "other_building", place, float(roofs.area_m2[i]), roofs.shapes[i])
        for i, place in zip(at.tolist(), places, strict=True)
        if place is not None and not shapely.is_empty(roofs.shapes[i])
    ]

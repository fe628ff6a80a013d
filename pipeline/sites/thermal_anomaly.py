"""Surface temperature anomaly per site from a stack of acquisitions, with its detection floor.

In: a temperature stack in kelvin (NaN where not clear), its grid, the sites. Out: the tables
`thermal` (one row per site) and `thermal_looks` (one row per site and acquisition). For each
acquisition the mean over the site is compared with the median of a ring around it; the acquisition
is used only if enough of both is clear.

This channel is weak and the tables say so (docs/methods.md, sections 3.2 and 3.3). Nearly all of a
data center's heat leaves as warm air. What stays near the ground is an area-integrated excess
E = sum (T - T_ring) A = S P [K m2], with S about 200 K m2 per megawatt. S is a prior of our own,
not measured anywhere. S and the spread of the ring give `floor_mw`, in most places hundreds of
megawatts; below it a missing anomaly is no information. More acquisitions do not lower the floor:
roofs, roads and trees stay where they are, so scene structure does not average out as noise does.
If the detector has used a site's heat already, the statement says so: it must not be counted a
second time. Cost: one window of the stack per site.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import exactextract
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import xarray as xr
from affine import Affine
from exactextract.raster import NumPyRasterSource
from odc.geo.geobox import GeoBox
from pyproj import CRS, Proj, Transformer
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import GridError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.tables import conform

COUPLING_K_M2_PER_MW, COUPLING_LN_SD = 200.0, 0.8
"""S: log-normal prior bounded by equipment areas and plume temperatures; not measured at any site (docs/methods.md,
section 3.2, number 5)."""
FLOOR_SIGMAS = 3.0
"""Threshold for one given site; a search over 1e5 sites needs 4.5 (docs/methods.md, section 3.2, number 8)."""
FLOOR_FACTOR = 3.0
"""Factor by which the floor may be wrong in either direction: S alone spans 55-740 K m2 per MW (5-95%)."""
FACILITY_PER_IT = 1.3
"""Median ratio of facility to IT power at peak in Epoch AI's timelines (1.17-1.52; docs/methods.md, section 0,
number 4)."""
MAD_TO_SD = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution: 1 / Phi^-1(3/4)."""
COUNTED = (
    "Thermal imagery went into the detection of this site, so its heat is in the probability of a data center already "
    "and supports nothing a second time."
)
MIN_RING_FOOTPRINTS = 9.0
"""Least number of independent sensor footprints in a ring: with 9 the standard error of its median is
sqrt(pi / 2 / 9) = 0.42 of its sd, with fewer it is larger (own choice)."""


@dataclass(frozen=True)
class _Place:
    """Where a site lies in the stack: a window, the share of its pixels that the site covers, the ring; areas in m2."""

    window: tuple[slice, slice]
    cover: np.ndarray  # (y, x) float, covered fraction of each pixel
    cover_full: float  # sum of `cover` if the whole site were in the image
    ring: np.ndarray  # (y, x) bool
    ring_full: float  # pixels of the ring if all of it were in the image
    pixel_m2: float
    heat_area_m2: float  # site grown by one sensor footprint: the point spread puts its heat there


def thermal_anomaly(
    stack: xr.DataArray,
    geobox: GeoBox,
    sites: gpd.GeoDataFrame,
    *,
    it_mw_p50: pd.Series | None = None,
    ring_inner_m: float = 150.0,
    ring_outer_m: float = 750.0,
    exclude: gpd.GeoDataFrame | None = None,
    min_clear: float = 0.8,
    sensor_gsd_m: float = 100.0,
    daytime: bool | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the surface temperature anomaly of each site, and what each acquisition contributed.

    Args:
        stack: (time, y, x) float32, kelvin, NaN where not clear; may be backed by dask.
        geobox: grid of the stack, north up.
        sites: `site_id` and geometry (polygon or point; any CRS). A point, or a site smaller than a
            sensor footprint, is grown to one footprint. `used_thermal`, if the table has it, says
            that the detector has used the site's heat already, so that it is not counted again.
        it_mw_p50: median IT power by site_id, MW; used only in the text, to say what could be expected.
        ring_inner_m: gap between site and ring; keeps the blurred heat of the site out of the background.
        ring_outer_m: outer edge of the ring, from the site's outline.
        exclude: other sites, buildings, water: every pixel that they touch is removed from the ring.
        min_clear: least clear share of the site, and of the ring, for an acquisition to be used.
        sensor_gsd_m: footprint of the sensor, not pixel of the delivered grid (Landsat: 100 m, delivered at 30 m).
        daytime: whether the acquisitions were made by day, if known; changes the text only.

    Returns:
        (`thermal`, `thermal_looks`) as in `tables`; sites in the order of `sites`, acquisitions in that of the stack.

    Raises:
        GridError: grid and stack differ, the grid is rotated or has no CRS, the ring is empty, or a
            site has no geometry or no CRS.
    """
    grid_crs = _check(stack, geobox, sites, ring_inner_m, ring_outer_m)
    to_grid = Transformer.from_crs(WGS84, grid_crs, always_xy=True)
    times = [_iso(t) for t in stack["time"].to_numpy()]
    keep_out = None if exclude is None or exclude.empty else exclude.to_crs(grid_crs)
    lonlat = sites.to_crs(WGS84)
    counted = sites["used_thermal"].to_numpy(bool) if "used_thermal" in sites else np.zeros(len(sites), bool)
    summaries: list[dict[str, object]] = []
    all_looks: list[pd.DataFrame] = []
    for site_id, geometry, seen in zip(lonlat["site_id"].astype(str), lonlat.geometry, counted, strict=True):
        place = _place(geometry, geobox, to_grid, keep_out, ring_inner_m, ring_outer_m, sensor_gsd_m)
        looks = _looks(stack, place, min_clear, sensor_gsd_m)
        looks.insert(0, "site_id", site_id)
        looks.insert(1, "time", times)
        it_mw = math.nan if it_mw_p50 is None else float(it_mw_p50.get(site_id, math.nan))
        summary = _summary(site_id, looks, place, sensor_gsd_m, it_mw, daytime)
        if seen:
            summary["statement"] = f"{summary['statement']} {COUNTED}"
        summaries.append(summary)
        all_looks.append(looks.drop(columns="ring_sd_k"))
    rows = pd.concat(all_looks) if all_looks else pd.DataFrame()
    return conform(summaries, "thermal"), conform(rows, "thermal_looks")


def p_detect(facility_mw: float, floor_mw: float) -> float:
    """Return the probability that the heat of this power exceeds the 3-sigma floor, averaged over the prior of S.

    docs/methods.md, section 3.3: p_detect = mean over S of P(3 P / floor (S / 200) + N(0, 1) > 3).

    Args:
        facility_mw: facility power, MW.
        floor_mw: 3-sigma floor at the median S, MW, as in `thermal`.

    Returns:
        probability, 0..1; about 0.0013 at 0 MW (chance alone); NaN if either is unknown.
    """
    if not (math.isfinite(facility_mw) and math.isfinite(floor_mw) and floor_mw > 0):
        return math.nan
    # quadrature over the log-normal prior of S: 401 nodes of its normal score, weighted by the density
    normal = np.linspace(-4.0, 4.0, 401)
    weight = np.exp(-0.5 * normal**2)
    signal = FLOOR_SIGMAS * facility_mw / floor_mw * np.exp(COUPLING_LN_SD * normal)
    # 1 - Phi(x) = erfc(x / sqrt 2) / 2
    passed = [0.5 * math.erfc((FLOOR_SIGMAS - s) / math.sqrt(2.0)) for s in signal]
    return float(np.average(passed, weights=weight))


def _check(stack: xr.DataArray, geobox: GeoBox, sites: gpd.GeoDataFrame, inner_m: float, outer_m: float) -> CRS:
    if stack.dims != ("time", "y", "x"):
        raise ValueError(f"stack has dims {stack.dims}, expected ('time', 'y', 'x')")
    if stack.shape[1:] != tuple(geobox.shape):
        raise GridError(
            f"temperature stack is {stack.shape[1:]} pixels, its grid {tuple(geobox.shape)}; give the stack's own"
        )
    if geobox.crs is None:
        raise GridError("temperature grid has no CRS; give georeferenced files")
    a = geobox.affine
    if a.b or a.d or a.a <= 0 or a.e >= 0:
        raise GridError(f"temperature grid {tuple(a)[:6]} is not north up; warp it first")
    if not 0 <= inner_m < outer_m:
        raise GridError(f"ring from {inner_m:g} to {outer_m:g} m is empty; the outer edge must be larger")
    if sites.crs is None:
        raise GridError("sites have no CRS; state it (usually EPSG:4326)")
    blank = sites.geometry.isna() | sites.geometry.is_empty
    if blank.any():
        raise GridError(f"site '{sites.loc[blank, 'site_id'].iloc[0]}' has no geometry; give a point or polygon")
    return CRS.from_user_input(geobox.crs.to_wkt())


def _place(
    lonlat: BaseGeometry,
    geobox: GeoBox,
    to_grid: Transformer,
    keep_out: gpd.GeoDataFrame | None,
    inner_m: float,
    outer_m: float,
    sensor_gsd_m: float,
) -> _Place:
    """Build site and ring in metres (equal-area frame centred on the site), then project both onto the grid."""
    centre = lonlat.centroid
    # Lambert azimuthal equal-area: buffers are in metres whatever the CRS of the grid
    local = Proj(proj="laea", lat_0=centre.y, lon_0=centre.x, ellps="WGS84")
    site_m = _grown(shapely.transform(lonlat, local, interleaved=False), sensor_gsd_m)
    ring_m = site_m.buffer(outer_m).difference(site_m.buffer(inner_m))

    def on_grid(x_m: np.ndarray, y_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return to_grid.transform(*local(x_m, y_m, inverse=True))

    site, ring = (shapely.transform(g, on_grid, interleaved=False) for g in (site_m, ring_m))

    affine, (height, width) = geobox.affine, geobox.shape
    west, south, east, north = ring.bounds
    columns = _clip((west - affine.c) / affine.a, (east - affine.c) / affine.a, width)
    rows = _clip((north - affine.f) / affine.e, (south - affine.f) / affine.e, height)
    window = (slice(*rows), slice(*columns))
    shape = (rows[1] - rows[0], columns[1] - columns[0])
    cell = abs(affine.a * affine.e)
    cover, inside = np.zeros(shape), np.zeros(shape, dtype=bool)
    if min(shape) > 0:
        corner_x, corner_y = affine.c + columns[0] * affine.a, affine.f + rows[0] * affine.e
        part = Affine(affine.a, 0.0, corner_x, 0.0, affine.e, corner_y)
        cover = _cover(site, part, shape)
        inside = rasterize([ring], out_shape=shape, transform=part, dtype="uint8").astype(bool)
        if keep_out is not None:
            # all_touched: a mixed pixel would bring the neighbour's heat into the background
            near = keep_out.geometry.iloc[keep_out.sindex.query(ring, predicate="intersects")]
            if len(near):
                inside &= ~rasterize(
                    list(near), out_shape=shape, transform=part, all_touched=True, dtype="uint8"
                ).astype(bool)
    return _Place(
        window,
        cover,
        site.area / cell,
        inside,
        ring.area / cell,
        site_m.area * cell / site.area,
        site_m.buffer(sensor_gsd_m).area,
    )


def _grown(site_m: BaseGeometry, sensor_gsd_m: float) -> BaseGeometry:
    """Return the site; if it is smaller than a sensor footprint, unite it with a disc of that area."""
    footprint_m2 = sensor_gsd_m**2
    if site_m.area >= footprint_m2:
        return site_m
    disc = site_m.centroid.buffer(math.sqrt(footprint_m2 / math.pi), quad_segs=32)
    return shapely.union(site_m, disc) if site_m.area > 0 else disc


def _clip(first: float, last: float, size: int) -> tuple[int, int]:
    low, high = max(math.floor(first), 0), min(math.ceil(last), size)
    return (low, high) if low < high else (0, 0)


def _cover(site: BaseGeometry, affine: Affine, shape: tuple[int, int]) -> np.ndarray:
    """Return the fraction of each pixel that the site covers, (y, x) float."""
    rows, columns = shape
    source = NumPyRasterSource(
        np.zeros(shape, dtype=np.uint8),
        xmin=affine.c,
        ymin=affine.f + rows * affine.e,
        xmax=affine.c + columns * affine.a,
        ymax=affine.f,
    )
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(site)}
    found = exactextract.exact_extract(source, [feature], ["cell_id", "coverage"])[0]["properties"]
    cover = np.zeros(rows * columns)
    cover[np.asarray(found["cell_id"], dtype=np.int64)] = found["coverage"]
    return cover.reshape(shape)


def _looks(stack: xr.DataArray, place: _Place, min_clear: float, sensor_gsd_m: float) -> pd.DataFrame:
    """Return one row per acquisition: used, reason, temperatures, excess, z, ring pixels and spread."""
    values = stack[:, place.window[0], place.window[1]].to_numpy().astype(np.float64)
    return pd.DataFrame([_look(v, place, min_clear, sensor_gsd_m) for v in values], columns=_LOOK_COLUMNS)


_LOOK_COLUMNS = ["used", "reason", "site_k", "ring_k", "excess_k", "robust_z", "ring_pixels", "ring_sd_k"]


def _look(lst_k: np.ndarray, place: _Place, min_clear: float, sensor_gsd_m: float) -> tuple[object, ...]:
    clear = np.isfinite(lst_k)
    ring = lst_k[place.ring & clear]
    nothing = (math.nan,) * 4
    if reason := _unusable(place, clear, len(ring), min_clear, sensor_gsd_m):
        return False, reason, *nothing, len(ring), math.nan
    # site: mean weighted by covered area; ring: median and MAD, robust to a warm roof in it (docs/methods.md, 3.3)
    weight = np.where(clear, place.cover, 0.0)
    site_k = float(np.average(np.where(clear, lst_k, 0.0), weights=weight))
    ring_k = float(np.median(ring))
    sd_k = MAD_TO_SD * float(np.median(np.abs(ring - ring_k)))
    excess_k = site_k - ring_k
    z = excess_k / sd_k if sd_k > 0 else math.nan
    return True, "", site_k, ring_k, excess_k, z, len(ring), sd_k if sd_k > 0 else math.nan


def _unusable(place: _Place, clear: np.ndarray, ring_pixels: int, min_clear: float, sensor_gsd_m: float) -> str:
    if not place.cover.any():
        return "site lies outside the image"
    on_site = float(place.cover[clear].sum()) / place.cover_full
    # exact_extract's fractions are float32; those of a wholly clear site may add up to slightly less than its area
    if on_site < min_clear - 1e-6:
        return f"only {on_site:.0%} of the site is clear, {min_clear:.0%} needed"
    footprints = _independent(place.ring.sum() * place.pixel_m2, place.pixel_m2, sensor_gsd_m)
    if footprints < MIN_RING_FOOTPRINTS:
        return (
            f"ring inside the image and outside of exclusions holds {footprints:.1f} sensor footprints, "
            f"{MIN_RING_FOOTPRINTS:g} needed"
        )
    on_ring = ring_pixels / int(place.ring.sum())
    return f"only {on_ring:.0%} of the ring is clear, {min_clear:.0%} needed" if on_ring < min_clear else ""


def _independent(area_m2: float, pixel_m2: float, sensor_gsd_m: float) -> float:
    """Return the number of independent measurements in an area: (30/100)^2 of the pixels for Landsat (section 3.1)."""
    return area_m2 / max(sensor_gsd_m**2, pixel_m2)


def _summary(
    site_id: str, looks: pd.DataFrame, place: _Place, sensor_gsd_m: float, it_mw: float, daytime: bool | None
) -> dict[str, object]:
    used = looks[looks["used"]]
    row: dict[str, object] = {"site_id": site_id, "looks_used": len(used), "looks_total": len(looks)}
    if used.empty:
        why = Counter(looks["reason"]).most_common(1)[0][0] if len(looks) else "the stack holds no acquisition"
        return row | {"statement": f"No usable acquisition ({why}): surface temperature says nothing about this site."}
    excess_k, z, sd_k = (float(used[c].median()) for c in ("excess_k", "robust_z", "ring_sd_k"))
    ring_m2 = float(used["ring_pixels"].median()) * place.pixel_m2
    site_n = _independent(place.heat_area_m2, place.pixel_m2, sensor_gsd_m)
    ring_n = _independent(ring_m2, place.pixel_m2, sensor_gsd_m)
    # sigma_E of docs/methods.md, section 3.3; pi/2: variance of a median over that of a mean
    sigma_e = place.heat_area_m2 * sd_k * math.sqrt(1 / site_n + math.pi / 2 / ring_n)
    floor_mw = FLOOR_SIGMAS * sigma_e / COUPLING_K_M2_PER_MW
    whole_ring = place.ring.sum() / place.ring_full >= 0.8
    # own choice: with more than a fifth of the ring missing, the background is called one-sided
    words = _statement(excess_k, z, len(used), len(looks), floor_mw, it_mw, daytime, whole_ring)
    return row | {
        "excess_sigmas": excess_k * place.heat_area_m2 / sigma_e if sigma_e > 0 else math.nan,
        "lst_excess_k": excess_k,
        "robust_z": z,
        "ring_sd_k": sd_k,
        "floor_mw": floor_mw,
        "statement": words,
    }


def _statement(
    excess_k: float,
    z: float,
    used: int,
    total: int,
    floor_mw: float,
    it_mw: float,
    daytime: bool | None,
    whole_ring: bool,
) -> str:
    spread = (
        "the temperatures in the ring have no spread to compare with"
        if math.isnan(z)
        else f"{z:+.1f} standard deviations of the temperatures in the ring, "
        + ("within the surroundings' own spread" if abs(z) < FLOOR_SIGMAS else "outside the surroundings' spread")
    )
    parts = [f"{excess_k:+.1f} K against the ring around it (median of {used} of {total} acquisitions): {spread}."]
    if math.isfinite(floor_mw):
        parts.append(
            f"Heat of less than roughly {_round(floor_mw):,} MW would not stand out here by {FLOOR_SIGMAS:g} standard "
            f"errors. This limit may be wrong by a factor of {FLOOR_FACTOR:g}: that 1 MW warms one hectare by "
            f"{COUPLING_K_M2_PER_MW / 1e4:g} K is assumed, not measured."
        )
    chance = p_detect(FACILITY_PER_IT * it_mw, floor_mw)
    if math.isfinite(chance):
        parts.append(
            f"At the estimated {it_mw:,.0f} MW of IT it would stand out with probability {chance:.0%}: "
            + (
                "a missing anomaly says nothing."
                if chance < 0.5
                else "a missing anomaly would speak weakly against full load."
            )
        )
    else:
        parts.append("A missing anomaly says nothing about a smaller site.")
    parts.append(
        "Site and ring may differ in land cover, which alone makes several kelvin"
        + (
            "; at night this is less, and roof insulation still counts."
            if daytime is False
            else ": in the sun a warm roof stands out from fields, not a data center from a warehouse."
        )
    )
    if not whole_ring:
        parts.append("Part of the ring lies outside the image or is excluded: the background is one-sided.")
    return " ".join(parts)


def _round(value: float) -> int:
    """Return `value` to two significant figures: it is known to a factor of 3 only."""
    return int(float(f"{value:.2g}"))


def _iso(time: str | np.datetime64) -> str:
    """Return a date, or date and time if it has one, as ISO 8601; text is returned unchanged."""
    return time if isinstance(time, str) else pd.Timestamp(time).isoformat().removesuffix("T00:00:00")

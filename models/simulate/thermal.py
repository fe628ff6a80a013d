"""Surface temperature of a simulated area, as a thermal satellite would show it.

In: materials of the ground and heat sources with their facility power. Out: kelvin, (time, y, x).
Physics as in docs/methods.md, section 3 (numbers in brackets are its sections): every material has its own
contrast, at night and by day; heat is an area-integrated excess E = S P [K m2] spread over the machines
(3.2 no. 5, S about 200 K m2 per MW), and the sensor blurs all of it with a point spread of about 100 m. So
100 MW is some 1-2 K in a few pixels and roofs in the sun hide it: the stack is honest about how little this
channel says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from rasterio import Affine
from rasterio.features import rasterize
from scipy import ndimage
from shapely import Polygon, box

from overwatt.aoi.errors import ConfigError
from overwatt.models.simulate.render import smooth
from overwatt.models.simulate.scene import Scene

CELL_M = 30.0
"""Delivered grid of Landsat surface temperature (3.1)."""
PSF_FWHM_M = 105.0
"""Point spread of TIRS, 100-120 m (3.1)."""
EXCESS_K_M2_PER_MW, EXCESS_LN_SD = 200.0, 0.3
"""S: median of the prior of 3.2 no. 5; its ln-sd of 0.8 is between sites of all climates, here one place."""
NEDT_K = 0.1
"""Noise of one look (3.1)."""
STATIC_SD_K, LOOK_SD_K = 0.4, 0.5
"""Rural night scene structure that stays, and that changes from look to look (3.3)."""

SENSOR_RANGE_M = (3.5, 30.0)
SITE_LN_SD = 0.8
"""ln-sd of S between sites of all climates (3.2 no. 5)."""
PROCESS_MW = {"factory": 2.0, "cold_store": 0.8, "hospital": 1.5, "laboratory": 1.0, "greenhouse": 0.5, "mall": 0.4}
"""Median heat of large look-alikes, MW: our assumption."""

LOOKS = (
    ("2025-01-14", "winter night"),
    ("2025-02-07", "winter night"),
    ("2025-06-19", "summer day"),
    ("2025-07-21", "summer day"),
    ("2025-08-14", "summer day"),
    ("2025-12-02", "winter night"),
    ("2026-01-11", "winter night"),
    ("2026-06-30", "summer day"),
)
"""Dates of the looks and what they are like."""

# grass, tree, asphalt, water, light roof, dark roof, soil, concrete, machine, vehicle
_NIGHT_K = np.array([-1.2, 0.4, 0.9, 3.5, -0.9, -0.8, -0.4, 0.6, 0.3, 0.3])
_DAY_K = np.array([0.0, -2.5, 7.5, -8.0, 5.0, 12.0, 6.0, 5.0, 4.0, 5.0])


@dataclass(frozen=True)
class Source:
    """A heat source: outlines of its machines in scene metres (x right, y down) and facility power, MW."""

    outlines: Sequence[Polygon]
    facility_mw: float


def surface_temperature(
    materials: np.ndarray, gsd_m: float, sources: Sequence[Source], transform: Affine, crs: str, seed: int
) -> xr.DataArray:
    """Return dated looks of surface temperature.

    Args:
        materials: (y, x) uint8 as numbered in `drawing`, a multiple of 30 m on both sides.
        gsd_m: its pixel, metres.
        sources: the data centers.
        transform: upper left corner of the materials in `crs`, metres.
        crs: projected coordinate system.
        seed: weather, scene structure, noise and clouds.

    Returns:
        (time, y, x) float32 kelvin on the 30 m grid; NaN under cloud; coordinate `look` says what each is
        like; attributes units, crs, and note.
    """
    rng = np.random.default_rng([seed, 3])
    share = _shares(materials, round(CELL_M / gsd_m))
    shape = share.shape[1:]
    heat = sum((_excess(s, shape, float(np.exp(rng.normal(0, EXCESS_LN_SD)))) for s in sources), np.zeros(shape))
    static = _field(rng, shape, 150.0) * STATIC_SD_K
    psf = PSF_FWHM_M / 2.3548 / CELL_M
    stack = np.empty((len(LOOKS), *shape), dtype=np.float32)
    for k, (_, look) in enumerate(LOOKS):
        day = look == "summer day"
        air = rng.normal(301.0, 2.5) if day else rng.normal(271.5, 3.0)
        ground = np.tensordot((_DAY_K if day else _NIGHT_K) * rng.uniform(0.8, 1.2), share, axes=1)
        scene = air + ground + (2.0 if day else 1.0) * static + heat * float(np.exp(rng.normal(0, 0.2)))
        seen = ndimage.gaussian_filter(scene, psf, mode="nearest") + LOOK_SD_K * _field(rng, shape, 400.0)
        seen += NEDT_K * rng.standard_normal(shape)
        if rng.random() < 0.7:
            seen[_cloud(rng, shape)] = np.nan
        stack[k] = seen
    x = transform.c + (np.arange(shape[1]) + 0.5) * CELL_M
    y = transform.f - (np.arange(shape[0]) + 0.5) * CELL_M
    time = pd.to_datetime([day for day, _ in LOOKS])
    coords = {"time": time, "y": y, "x": x, "look": ("time", [look for _, look in LOOKS])}
    attributes = {"units": "K", "crs": crs, "note": "simulated"}
    return xr.DataArray(stack, dims=("time", "y", "x"), coords=coords, name="lst_k", attrs=attributes)


def excess_k(scene: Scene, psf_m: float, gsd_m: float, seed: int) -> np.ndarray:
    """Return the surface-temperature excess that a scene's heat sources make, as a sensor would show it.

    Every site's heat is E = S P [K m2], S drawn a site from its prior (3.2 no. 5: median 200 K m2 a MW, ln-sd 0.8),
    spread over its cooling machines, or over its roofs where none are seen. Large look-alikes give off heat of
    their own (`PROCESS_MW`), so that warm does not mean data center. No ground, weather or noise: add
    `ground_contrast_k`.

    Args:
        scene: a training scene.
        psf_m: full width at half maximum of the sensor's point spread, metres.
        gsd_m: its pixel, 3.5 to 30 m.
        seed: of S and of the look-alikes' heat.

    Returns:
        (y, x) float32 kelvin on the scene's grid, piecewise constant over the sensor's pixels.

    Raises:
        ConfigError: the sensor's pixel is outside 3.5 to 30 m, or its point spread is not positive.
    """
    low, high = SENSOR_RANGE_M
    if not low <= gsd_m <= high or not psf_m > 0:
        raise ConfigError(
            f"gsd_m, psf_m: a sensor of {gsd_m} m and {psf_m} m cannot be simulated; give {low} to {high} m"
        )
    rng = np.random.default_rng([seed, 5])
    shape, transform = scene.building.shape, scene.transform
    pad = int(np.ceil(2 * psf_m / transform.a))
    grid = transform * Affine.translation(-pad, -pad)
    heat = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    west, north = grid * (0, 0)
    east, south = grid * (heat.shape[1], heat.shape[0])
    extent = box(west, south, east, north)
    for outlines, facility_mw in _heat_sources(scene, rng):
        total = EXCESS_K_M2_PER_MW * float(np.exp(rng.normal(0, SITE_LN_SD))) * facility_mw
        share = sum(o.intersection(extent).area for o in outlines) / sum(o.area for o in outlines)
        if share == 0:
            continue
        shapes = [(o, 1) for o in outlines]
        on = rasterize(shapes, out_shape=heat.shape, transform=grid, dtype="uint8")
        if not on.any():
            on = rasterize(shapes, out_shape=heat.shape, transform=grid, dtype="uint8", all_touched=True)
        heat += on * np.float32(total * share / (max(int(on.sum()), 1) * transform.a**2))
    seen = ndimage.gaussian_filter(heat, psf_m / 2.3548 / transform.a, mode="constant")[pad:-pad, pad:-pad]
    return _sampled(seen, gsd_m / transform.a)


def ground_contrast_k(scene: Scene, psf_m: float, gsd_m: float, seed: int) -> np.ndarray:
    """Return what a night scene shows without any heat source: roofs, ground structure, weather, noise.

    Arguments and result as in `excess_k`; contrasts of 3.3 (static 0.4 K, a look 0.5 K, doubled in towns) and
    roofs that differ by about 1 K from one to the next.
    """
    rng = np.random.default_rng([seed, 6])
    shape, cell_m = scene.building.shape, scene.transform.a
    ids = scene.instance if scene.instance is not None else np.zeros(shape, dtype=np.uint16)
    roofs = rng.normal(-0.6, 1.0, int(ids.max(initial=0)) + 1)
    roofs[0] = 0.0
    ground = roofs[ids] + float(rng.uniform(1, 2)) * (
        STATIC_SD_K * smooth(rng, shape, max(2, round(150 / cell_m)))
        + LOOK_SD_K * smooth(rng, shape, max(2, round(400 / cell_m)))
    )
    seen = _sampled(
        ndimage.gaussian_filter(ground.astype(np.float32), psf_m / 2.3548 / cell_m, mode="nearest"), gsd_m / cell_m
    )
    return seen + _sampled(NEDT_K * rng.standard_normal(shape, dtype=np.float32), gsd_m / cell_m)


def _heat_sources(scene: Scene, rng: np.random.Generator) -> list[tuple[list[Polygon], float]]:
    truth = scene.truth
    sources: list[tuple[list[Polygon], float]] = []
    centers, banks = (truth[truth["class"] == c] for c in ("data_center", "cooling_equipment"))
    for site_id in sorted(set(centers["site_id"])):
        outlines = list(banks.geometry[banks["site_id"] == site_id]) or list(
            centers.geometry[centers["site_id"] == site_id]
        )
        sources.append((outlines, float(centers["facility_mw"][centers["site_id"] == site_id].sum())))
    for kind, geometry in zip(truth["kind"], truth.geometry, strict=True):
        if kind in PROCESS_MW:
            sources.append(([geometry], PROCESS_MW[kind] * float(np.exp(rng.normal(0, 0.8)))))
    return sources


def _sampled(image: np.ndarray, step: float) -> np.ndarray:
    """Return an image as pixels of `step` of its own show it, on its own grid."""
    rows, cols = image.shape
    if step <= 1:
        return image.astype(np.float32)

    def centre(n: int) -> np.ndarray:
        return np.clip(((np.arange(n) // step + 0.5) * step).astype(int), 0, n - 1)

    return image[np.ix_(centre(rows), centre(cols))].astype(np.float32)


def _shares(materials: np.ndarray, block: int) -> np.ndarray:
    rows, cols = materials.shape[0] // block, materials.shape[1] // block
    cut = materials[: rows * block, : cols * block].reshape(rows, block, cols, block)
    return np.stack([(cut == m).mean(axis=(1, 3)) for m in range(len(_DAY_K))])


def _excess(source: Source, shape: tuple[int, ...], factor: float) -> np.ndarray:
    """Return the excess in kelvin before blur; its sum times the cell's area is S P."""
    fine = 5
    grid = Affine(CELL_M / fine, 0, 0, 0, CELL_M / fine, 0)
    size = (shape[0] * fine, shape[1] * fine)
    on = rasterize([(o, 1) for o in source.outlines], out_shape=size, transform=grid, all_touched=True)
    weight = on.reshape(shape[0], fine, shape[1], fine).sum(axis=(1, 3)).astype(float)
    total = EXCESS_K_M2_PER_MW * factor * source.facility_mw
    return weight / weight.sum() * total / CELL_M**2


def _field(rng: np.random.Generator, shape: tuple[int, ...], correlation_m: float) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), correlation_m / CELL_M / 2, mode="wrap")
    return smooth / smooth.std()


def _cloud(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    a, b = rng.uniform(5, 14, 2)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return ((yy - row) / a) ** 2 + ((xx - col) / b) ** 2 + 0.35 * _field(rng, shape, 150.0) < 1

"""Surface temperature of a simulated area, as a thermal satellite sensor would measure it.

In: ground materials and heat sources with their facility power. Out: kelvin, (time, y, x).
Physics as in docs/methods.md, section 3: each material has a temperature contrast by night and by day; waste heat
is an area-integrated surface temperature anomaly E = S P [K m2] spread over the machines (section 3.2, no. 5, S about
200 K m2 per MW), and the sensor blurs it with a point spread function of about 100 m. 100 MW are therefore 1-2 K in
a few pixels, and sunlit roofs hide it: the stack shows how little information this channel holds.
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
"""Delivered grid of Landsat surface temperature (docs/methods.md, section 3.1)."""
PSF_FWHM_M = 105.0
"""Point spread function of TIRS, full width at half maximum, 100-120 m (docs/methods.md, section 3.1)."""
EXCESS_K_M2_PER_MW, EXCESS_LN_SD = 200.0, 0.3
"""S: median of the prior in docs/methods.md, section 3.2, no. 5. The prior's ln-sd of 0.8 is the spread between sites
of all climates; the sites of one place spread less (own choice)."""
NEDT_K = 0.1
"""Noise-equivalent temperature difference of one acquisition (docs/methods.md, section 3.1)."""
STATIC_SD_K, LOOK_SD_K = 0.4, 0.5
"""Structure of a rural night scene: constant part and part per acquisition (docs/methods.md, section 3.3)."""

SENSOR_RANGE_M = (3.5, 30.0)
SITE_LN_SD = 0.8
"""ln-sd of S between sites of all climates (docs/methods.md, section 3.2, no. 5)."""
PROCESS_MW = {"factory": 2.0, "cold_store": 0.8, "hospital": 1.5, "laboratory": 1.0, "greenhouse": 0.5, "mall": 0.4}
"""Median waste heat of large look-alikes, MW (own assumption)."""

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
"""Dates of the acquisitions and their season and time of day."""

# contrast of each material of `drawing`, kelvin: grass, tree, asphalt, water, light roof, dark roof, soil, concrete,
# machine, vehicle; own choices after docs/methods.md, section 3
_NIGHT_K = np.array([-1.2, 0.4, 0.9, 3.5, -0.9, -0.8, -0.4, 0.6, 0.3, 0.3])
_DAY_K = np.array([0.0, -2.5, 7.5, -8.0, 5.0, 12.0, 6.0, 5.0, 4.0, 5.0])


@dataclass(frozen=True)
class Source:
    """A heat source: outlines of its machines in scene metres (x east, y south) and its facility power, MW."""

    outlines: Sequence[Polygon]
    facility_mw: float


def surface_temperature(
    materials: np.ndarray, gsd_m: float, sources: Sequence[Source], transform: Affine, crs: str, seed: int
) -> xr.DataArray:
    """Return a dated stack of simulated surface temperature.

    Args:
        materials: (y, x) uint8 as numbered in `drawing`, a multiple of 30 m on both sides.
        gsd_m: metres per pixel of the materials.
        sources: the data centers.
        transform: upper left corner of the materials in `crs`, metres.
        crs: projected coordinate system.
        seed: seed of weather, scene structure, noise and clouds.

    Returns:
        (time, y, x) float32 kelvin on the 30 m grid; NaN under cloud; coordinate `look` gives season and time
        of day of each acquisition; attributes units, crs and note.
    """
    rng = np.random.default_rng([seed, 3])
    share = _shares(materials, round(CELL_M / gsd_m))
    shape = share.shape[1:]
    heat = sum((_excess(s, shape, float(np.exp(rng.normal(0, EXCESS_LN_SD)))) for s in sources), np.zeros(shape))
    static = _field(rng, shape, 150.0) * STATIC_SD_K
    # FWHM = 2 sqrt(2 ln 2) sd = 2.3548 sd of a Gaussian
    psf = PSF_FWHM_M / 2.3548 / CELL_M
    stack = np.empty((len(LOOKS), *shape), dtype=np.float32)
    for k, (_, look) in enumerate(LOOKS):
        day = look == "summer day"
        # air temperature of a summer day (28 C) or a winter night (-2 C), own choice
        air = rng.normal(301.0, 2.5) if day else rng.normal(271.5, 3.0)
        ground = np.tensordot((_DAY_K if day else _NIGHT_K) * rng.uniform(0.8, 1.2), share, axes=1)
        # static structure is twice as strong in sunlight; E varies by 20% between acquisitions (own choice)
        scene = air + ground + (2.0 if day else 1.0) * static + heat * float(np.exp(rng.normal(0, 0.2)))
        seen = ndimage.gaussian_filter(scene, psf, mode="nearest") + LOOK_SD_K * _field(rng, shape, 400.0)
        seen += NEDT_K * rng.standard_normal(shape)
        # 70% of the acquisitions have a cloud
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
    """Return the surface temperature anomaly of a scene's heat sources, as a sensor would measure it.

    Each site has E = S P [K m2], with S drawn per site from its prior (docs/methods.md, section 3.2, no. 5: median
    200 K m2 per MW, ln-sd 0.8), spread over its cooling machines, or over its roofs if no machine is visible. Large
    look-alikes emit waste heat too (`PROCESS_MW`), so a warm roof is not proof of a data center. Without ground,
    weather and noise: add `ground_contrast_k`.

    Args:
        scene: a training scene.
        psf_m: full width at half maximum of the sensor's point spread function, metres.
        gsd_m: the sensor's ground sampling distance, 3.5 to 30 m.
        seed: seed of S and of the look-alikes' heat.

    Returns:
        (y, x) float32 kelvin on the scene's grid, constant within each pixel of the sensor.

    Raises:
        ConfigError: `gsd_m` is outside 3.5 to 30 m, or `psf_m` is not positive.
    """
    low, high = SENSOR_RANGE_M
    if not low <= gsd_m <= high or not psf_m > 0:
        raise ConfigError(
            f"gsd_m {gsd_m} m, psf_m {psf_m} m: such a sensor cannot be simulated; use gsd_m of {low} to {high} m"
        )
    rng = np.random.default_rng([seed, 5])
    shape, transform = scene.building.shape, scene.transform
    # margin of two FWHM (4.7 sd): heat just outside of the scene still blurs into it
    pad = int(np.ceil(2 * psf_m / transform.a))
    grid = transform * Affine.translation(-pad, -pad)
    heat = np.zeros((shape[0] + 2 * pad, shape[1] + 2 * pad), dtype=np.float32)
    west, north = grid * (0, 0)
    east, south = grid * (heat.shape[1], heat.shape[0])
    extent = box(west, south, east, north)
    for outlines, facility_mw in _heat_sources(scene, rng):
        total = EXCESS_K_M2_PER_MW * float(np.exp(rng.normal(0, SITE_LN_SD))) * facility_mw
        # only the heat of the part inside the padded extent
        share = sum(o.intersection(extent).area for o in outlines) / sum(o.area for o in outlines)
        if share == 0:
            continue
        shapes = [(o, 1) for o in outlines]
        on = rasterize(shapes, out_shape=heat.shape, transform=grid, dtype="uint8")
        # machines smaller than a cell: use every cell they touch
        if not on.any():
            on = rasterize(shapes, out_shape=heat.shape, transform=grid, dtype="uint8", all_touched=True)
        # kelvin = E / area of the burnt cells
        heat += on * np.float32(total * share / (max(int(on.sum()), 1) * transform.a**2))
    seen = ndimage.gaussian_filter(heat, psf_m / 2.3548 / transform.a, mode="constant")[pad:-pad, pad:-pad]
    return _sampled(seen, gsd_m / transform.a)


def ground_contrast_k(scene: Scene, psf_m: float, gsd_m: float, seed: int) -> np.ndarray:
    """Return the temperature contrast of a night scene without heat sources: roofs, ground, weather, noise.

    Arguments and result as in `excess_k`. Contrasts as in docs/methods.md, section 3.3 (static 0.4 K, per acquisition
    0.5 K, up to twice that in towns); roofs differ from each other by about 1 K.
    """
    rng = np.random.default_rng([seed, 6])
    shape, cell_m = scene.building.shape, scene.transform.a
    ids = scene.instance if scene.instance is not None else np.zeros(shape, dtype=np.uint16)
    # roofs are colder than the ground on clear nights, -0.6 K on average (own choice, cf. `_NIGHT_K`)
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
    """Return outlines and facility MW of each data-center site, then of each look-alike with process heat."""
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
    """Return the image sampled at pixels of `step` cells and repeated on its own grid (nearest neighbour)."""
    rows, cols = image.shape
    if step <= 1:
        return image.astype(np.float32)

    def centre(n: int) -> np.ndarray:
        return np.clip(((np.arange(n) // step + 0.5) * step).astype(int), 0, n - 1)

    return image[np.ix_(centre(rows), centre(cols))].astype(np.float32)


def _shares(materials: np.ndarray, block: int) -> np.ndarray:
    """Return the area share of each material (material, y, x) in blocks of block x block pixels."""
    rows, cols = materials.shape[0] // block, materials.shape[1] // block
    cut = materials[: rows * block, : cols * block].reshape(rows, block, cols, block)
    return np.stack([(cut == m).mean(axis=(1, 3)) for m in range(len(_DAY_K))])


def _excess(source: Source, shape: tuple[int, ...], factor: float) -> np.ndarray:
    """Return the temperature anomaly (y, x) in kelvin before blurring; its sum times the cell's area is S P."""
    fine = 5  # 6 m sub-cells give the share of each 30 m cell that machines cover
    grid = Affine(CELL_M / fine, 0, 0, 0, CELL_M / fine, 0)
    size = (shape[0] * fine, shape[1] * fine)
    on = rasterize([(o, 1) for o in source.outlines], out_shape=size, transform=grid, all_touched=True)
    weight = on.reshape(shape[0], fine, shape[1], fine).sum(axis=(1, 3)).astype(float)
    total = EXCESS_K_M2_PER_MW * factor * source.facility_mw
    return weight / weight.sum() * total / CELL_M**2


def _field(rng: np.random.Generator, shape: tuple[int, ...], correlation_m: float) -> np.ndarray:
    """Return a random field (y, x) of unit variance with about this correlation length."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), correlation_m / CELL_M / 2, mode="wrap")
    return field / field.std()


def _cloud(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return (y, x) bool: one cloud, an ellipse with a ragged edge, half axes of 150 to 420 m."""
    row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    a, b = rng.uniform(5, 14, 2)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return ((yy - row) / a) ** 2 + ((xx - col) / b) ** 2 + 0.35 * _field(rng, shape, 150.0) < 1

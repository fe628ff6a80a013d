"""The pictures that a network is trained on: outlined imagery, simulated scenes, negatives, land cover.

In: parts of a training file. Out: `Picture`s. Simulated scenes are rendered once, in parallel processes, and stored
in the output folder, where a resumed training finds them. Their thermal excess includes the contrast of the ground
materials: heat sources alone would reveal the label.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from dask.system import CPU_COUNT
from rasterio.features import rasterize
from scipy import ndimage

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.aoi.file_signatures import raster_driver
from overwatt.models.evaluation.metrics import Outline
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.simulate import Scene, excess_k, ground_contrast_k, training_scene
from overwatt.models.simulate.thermal import SENSOR_RANGE_M
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER, OTHER, Picture
from overwatt.workflows.config.training import LandCoverSettings, NegativeSettings, SimulatedSettings
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.raster_checks import quiet
from overwatt.workflows.io.vectors import read_vector, to_pixels

log = logging.getLogger(__name__)

Say = Callable[[str], None]
MAX_SIDE_PX = 2048
"""Largest side of one picture in a mosaic; a limit on memory (own choice)."""
PIXEL_PER_PSF = 0.6
"""Pixel size of a thermal sensor over the width of its point spread function; own choice: well sampled."""
_LAYERS = ("optical", "building", "cooling", "instance", "unit", "kind", "substation")


def outlined(
    image: Image, outlines: list[Outline], name: str, weight: float, scale: tuple[float, float] | None = None
) -> Picture:
    """Read a whole picture and rasterize its outlines. Ground without an outline counts as background.

    Args:
        image: the image.
        outlines: in its pixels.
        name: of the picture, for messages.
        weight: how often it is sampled, relative to the others.
        scale: range of the random change of apparent size; None for the default of the training.
    """
    ny, nx = image.shape
    values, valid = image.read(0, 0, ny, nx)
    pixels = np.rint(values * 255).astype(np.uint8)
    layers: dict[str, Any] = masks(outlines, (ny, nx))
    return Picture(name, pixels, valid, **layers, weight=weight, gsd_m=image.gsd_m, scale=scale)


def masks(outlines: list[Outline], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the layers of a `Picture` that outlines in its pixels give: building, cooling, instance, kind, substation.

    Ground without an outline is background; car parks are, too.
    """

    def burn(codes: Iterable[tuple[shapely.Geometry, int]], fill: int = 0, dtype: str = "uint8") -> np.ndarray:
        shapes = list(codes)  # later ones are drawn over earlier ones
        return rasterize(shapes, shape, fill=fill, dtype=dtype) if shapes else np.full(shape, fill, dtype)

    def of(order: dict[str, int]) -> list[tuple[shapely.Geometry, int]]:
        return [(o.polygon, code) for klass, code in order.items() for o in outlines if o.klass == klass]

    buildings = [(o.polygon, n) for n, o in enumerate(outlines, 1) if o.klass in ("other_building", "data_center")]
    return {
        "building": burn(of({"unknown": IGNORE, "other_building": OTHER, "data_center": DATA_CENTER})),
        "cooling": burn(of({"unknown": IGNORE, "cooling_equipment": 1})),
        "instance": burn(buildings, dtype="uint16"),
        "kind": burn([(o.polygon, MACHINE_KINDS.index(o.kind)) for o in outlines if o.kind], IGNORE),
        "substation": burn(of({"unknown": IGNORE, "substation": 1})),
    }


def simulated(settings: SimulatedSettings, folder: Path, say: Say) -> list[Picture]:
    """Render the simulated scenes into `folder`, or read them from there.

    Scene i depends only on seed + i.

    Args:
        settings: how many scenes, and which.
        folder: where the scenes are stored.
        say: receives progress lines.

    Returns:
        The `tiles` scenes for training, then the `held_out` ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = []
    for i in range(settings.tiles + settings.held_out):
        gsd_m = settings.gsds_m[i % len(settings.gsds_m)]
        psf_m = settings.psfs_m[i % len(settings.psfs_m)] if settings.psfs_m else None
        heat = f"-heat{psf_m:g}" if psf_m else ""
        path = folder / f"{run_folder.simulator_version()}-{settings.seed + i}-{settings.size_px}-{gsd_m:g}{heat}.npz"
        todo.append((path, settings.seed + i, settings.size_px, gsd_m, psf_m))
    # the file name holds all that a scene depends on, so a stored file is never stale
    missing = [t for t in todo if not t[0].is_file()]
    log.debug("%d simulated scenes: %d stored already, %d to render", len(todo), len(todo) - len(missing), len(missing))
    if missing:
        with ProcessPoolExecutor(CPU_COUNT, mp_context=get_context("spawn")) as pool:
            for n, _ in enumerate(pool.map(_render, missing), 1):
                if n % 20 == 0:
                    say(f"simulated scenes: {n} of {len(missing)}")
    return [_scene(path, gsd_m, settings) for path, _, _, gsd_m, _ in todo]


def _render(job: tuple[Path, int, int, float, float | None]) -> None:
    path, seed, size_px, gsd_m, psf_m = job
    scene = training_scene(seed, size_px, gsd_m)
    layers = {name: getattr(scene, name) for name in _LAYERS}
    if psf_m:
        layers["thermal"] = _thermal_excess(scene, psf_m, seed)[None]
    with run_folder.written(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **layers)


def _thermal_excess(scene: Scene, psf_m: float, seed: int) -> np.ndarray:
    """Thermal excess of a scene, (y, x) float32, kelvin, as a sensor with point spread `psf_m` measures it.

    The sensor's pixels are resampled to the grid of the scene bilinearly, as when a thermal raster is read.
    """
    low, high = SENSOR_RANGE_M
    pixel_m, (ny, nx) = min(max(PIXEL_PER_PSF * psf_m, low), high), scene.building.shape
    shown = excess_k(scene, psf_m, pixel_m, seed) + ground_contrast_k(scene, psf_m, pixel_m, seed)
    step = max(pixel_m / scene.transform.a, 1.0)  # sensor pixel in scene pixels

    def pixel_centres(n: int) -> np.ndarray:
        """Scene rows or columns at the centres of the sensor pixels."""
        return np.minimum((np.arange(int(np.ceil(n / step))) + 0.5) * step, n - 1).astype(int)

    pixels = shown[np.ix_(pixel_centres(ny), pixel_centres(nx))]
    # centres of scene pixels in sensor pixels: (i + 0.5) / step - 0.5, since index 0 is the centre of the first pixel
    at = np.meshgrid((np.arange(ny) + 0.5) / step - 0.5, (np.arange(nx) + 0.5) / step - 0.5, indexing="ij")
    resampled: np.ndarray = ndimage.map_coordinates(pixels, at, order=1, mode="nearest")
    return resampled.astype(np.float32)


def not_measured(pictures: list[Picture], thermal_bands: int) -> list[Picture]:
    """Return the pictures, with `thermal_bands` bands of NaN (not measured) added to those without a thermal band."""
    if not thermal_bands:
        return pictures
    return [
        p
        if p.thermal is not None
        else replace(p, thermal=np.broadcast_to(np.float32(np.nan), (thermal_bands, *p.valid.shape)))
        for p in pictures
    ]


def _scene(path: Path, gsd_m: float, settings: SimulatedSettings) -> Picture:
    with np.load(path, allow_pickle=False) as z:
        layers = {name: z[name] for name in z.files}
    return Picture(
        path.stem,
        valid=np.ones(layers["building"].shape, bool),
        weight=settings.weight / settings.tiles,
        gsd_m=gsd_m,
        scale=settings.scale,
        **layers,
    )


def mosaics(settings: NegativeSettings, folder: Path) -> list[Picture]:
    """Join small pictures without a data center into square mosaics, in a fixed random order that mixes classes.

    Their only label is that no pixel is a data center.

    Raises:
        ConfigError: the folder is missing or holds fewer pictures than one mosaic.
        AssetReadError: a picture is damaged, too large, or does not have three 8-bit bands.
    """
    n = settings.side
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff"))
    if len(paths) < n * n:
        raise ConfigError(f"negatives '{settings.name}': {len(paths)} pictures in {folder}, one mosaic needs {n * n}")
    order = np.random.default_rng(0).permutation(len(paths))
    pictures = []
    count = len(paths) // (n * n)
    for m in range(count):
        parts = [_averaged(paths[i], settings.average) for i in order[m * n * n : (m + 1) * n * n]]
        side = min(min(p.shape[1:]) for p in parts)
        rows = [np.concatenate([p[:, :side, :side] for p in parts[r * n : (r + 1) * n]], 2) for r in range(n)]
        optical = np.concatenate(rows, 1)
        building, cooling = (np.full(optical.shape[1:], v, np.uint8) for v in (NOT_CENTER, IGNORE))
        pictures.append(
            Picture(
                f"{settings.name} {m}", optical, building > 0, building, cooling, settings.weight / count,
                gsd_m=settings.average * settings.gsd_m, scale=settings.scale,
            )
        )  # fmt: skip
    return pictures


def land_cover(image: Image, classes: Path, known: Path | None, settings: LandCoverSettings) -> Picture:
    """Read a picture and label it by its land cover: open land is background, built-up land has no data center.

    Args:
        image: the image.
        classes: raster of land-cover classes on the grid of the image.
        known: vector file of known data centers; ground within `settings.apart_m` of them is unknown.
        settings: which classes are built up, and the rest.

    Raises:
        GridError: the land cover is not on the picture's own grid.
        AssetReadError: it cannot be read.
    """
    ny, nx = image.shape
    values, valid = image.read(0, 0, ny, nx)
    driver = raster_driver(classes)
    if driver is None:
        raise AssetReadError(
            f"land cover {classes.name}: not a GeoTIFF, PNG, JPEG or JPEG 2000 file by its first bytes"
        )
    with rasterio.open(classes, driver=driver) as source:
        box = image.geobox
        if (
            box is None or not image.native or source.shape != image.shape
            or str(source.crs) != str(box.crs) or not source.transform.almost_equals(box.affine, 1e-6)
        ):  # fmt: skip
            raise GridError(f"land cover {classes.name}: not on the grid of image {image.name}")
        built = np.isin(source.read(1), settings.built_up)
    building = np.where(built, np.uint8(NOT_CENTER), np.uint8(0))
    if known is not None:
        frame = read_vector(known)
        near = [shapely.buffer(g, settings.apart_m / image.gsd_m) for g in to_pixels(frame.geometry, image)]
        if near:
            building[rasterize(near, (ny, nx), dtype="uint8") > 0] = IGNORE
    # open land has no cooling equipment; about built-up land the land cover says nothing
    cooling = np.where(building == 0, np.uint8(0), np.uint8(IGNORE))
    pixels = np.rint(values * 255).astype(np.uint8)
    return Picture(
        settings.name, pixels, valid, building, cooling, settings.weight, gsd_m=image.gsd_m, scale=settings.scale
    )


def _averaged(path: Path, n: int) -> np.ndarray:
    """Read a picture, (3, y, x) uint8, and average blocks of n x n pixels, so that coarser sampling does not alias."""
    pixels = read_rgb(path)
    ny, nx = (v // n * n for v in pixels.shape[1:])
    blocks = pixels[:, :ny, :nx].reshape(3, ny // n, n, nx // n, n).astype(np.float32)
    return np.rint(blocks.mean((2, 4))).astype(np.uint8)


def read_rgb(path: Path) -> np.ndarray:
    """Read the first three bands of a small picture, (3, y, x) uint8.

    Raises:
        AssetReadError: it is damaged, too large, or does not have three 8-bit bands.
    """
    driver = raster_driver(path)
    if driver is None:
        raise AssetReadError(f"image {path.name}: not a GeoTIFF, PNG, JPEG or JPEG 2000 file by its first bytes")
    with quiet():
        opened = rasterio.open(path, driver=driver)
    with opened as source:
        if source.count < 3 or source.dtypes[0] != "uint8" or max(source.shape) > MAX_SIDE_PX:
            raise AssetReadError(f"image {path.name}: needs three 8-bit bands, at most {MAX_SIDE_PX} pixels per side")
        pixels: np.ndarray = source.read([1, 2, 3])
    return pixels

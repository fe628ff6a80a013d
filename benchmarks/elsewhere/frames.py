"""Pictures without georeference, with hand-drawn boxes, resampled to one ground sampling distance.

In: a data folder and the boxes' CSV files. Out: `Frame`s. Map pins and texts are masked as void. First and later
weights are scored on the same boxes.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from overwatt.models.detector.card import ModelCard

BOXES = Path(__file__).resolve().parent.parent / "boxes"
NYC_GSD_M = 0.9
"""Metres per pixel of nyc_large_roofs, as estimated in its notes."""
DECLARED_GSDS_M = (1.0, 2.0, 4.0)
"""For pictures of unknown scale: each is scored as if a pixel had each of these sizes."""
MASK_GSD_M = {"inria_crops": 0.3, "spacenet1_rio": 0.5, "spacenet4_atlanta": 0.5}
MAX_PX = 50_000_000  # larger pictures are refused, against decompression bombs (own choice)
PIN = "pin"


@dataclass(frozen=True)
class Box:
    """One box: pixels of the stored frame (x1, y1 exclusive), class, and area of the roof, of the box if not given."""

    xyxy: tuple[float, float, float, float]
    klass: str
    area_m2: float


@dataclass(frozen=True)
class Frame:
    """A stored picture: its data set (group), class or place, metres per pixel, boxes and masks."""

    path: Path
    group: str
    place: str
    gsd_m: float
    boxes: tuple[Box, ...] = ()
    masks: tuple[tuple[float, float, float, float], ...] = field(default=())

    def read(self) -> np.ndarray:
        """Return (y, x, 3) uint8."""
        if self.path.suffix.lower() in (".tif", ".tiff"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                with rasterio.open(self.path) as source:
                    _refuse_huge(self.path, source.width, source.height)
                    pixels = source.read([1, 2, 3] if source.count >= 3 else [1, 1, 1])
            return _to_uint8(pixels).transpose(1, 2, 0)
        with Image.open(self.path) as image:
            _refuse_huge(self.path, *image.size)
            return np.asarray(image.convert("RGB"))

    def at(self, card: ModelCard) -> tuple[np.ndarray, np.ndarray, float]:
        """Resample the picture to the ground sampling distance of the weights, as `overwatt detect --gsd` does.

        Returns:
            values (band, y, x) float32 0..1, valid (y, x) bool, and metres per pixel.
        """
        pixels = self.read()
        low, high = card.native_range_m
        # resample only pictures outside the range that the weights take without resampling
        gsd_m = self.gsd_m if low <= self.gsd_m <= high else card.gsd_m
        factor = self.gsd_m / gsd_m
        ny, nx = (max(1, round(n * factor)) for n in pixels.shape[:2])
        image = Image.fromarray(pixels)
        if factor != 1:
            # area average when shrinking (no aliasing), bilinear when enlarging
            image = image.resize((nx, ny), Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR)
        valid = np.ones((ny, nx), bool)
        for box in (*self.masks, *(b.xyxy for b in self.boxes if b.klass == PIN)):
            x0, y0, x1, y1 = (v * factor for v in box)
            valid[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))] = False
        values = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
        return values * valid, valid, gsd_m


def _refuse_huge(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PX:
        raise SystemExit(f"{path.name}: {width} x {height} pixels, more than {MAX_PX:,}")


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Return display values: the 1st to 99th percentile of the non-zero pixels stretched to 0..255."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels[pixels > 0], [1, 99]) if (pixels > 0).any() else (0, 1)
    return np.clip((pixels.astype(np.float32) - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)


def boxes_of(data: Path, name: str) -> dict[str, list[dict[str, str]]]:
    """Return the box rows by file, from DATA/NAME/boxes.csv if it exists, otherwise from benchmarks/boxes."""
    own = data / name / "boxes.csv"
    path = own if own.is_file() else BOXES / f"{name}.csv"
    rows: dict[str, list[dict[str, str]]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(Path(row["file"]).name, []).append(row)
    return rows


def boxed(data: Path, name: str, pattern: str) -> Iterator[Frame]:
    """Yield the frames of a data set that have boxes; pictures without a row are skipped."""
    rows = boxes_of(data, name)
    for path in sorted((data / name).glob(pattern)):
        mine = rows.get(path.name, [])
        if not mine:
            continue
        gsd_m = float(mine[0]["gsd_m"])
        boxes = []
        for r in mine:
            xyxy = tuple(float(r[k]) for k in ("x0", "y0", "x1", "y1"))
            full = (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1]) * gsd_m**2
            boxes.append(Box(xyxy, r["class"], float(r.get("area_m2") or full)))
        yield Frame(path, name, place_of(path), gsd_m, tuple(boxes))


def place_of(path: Path) -> str:
    """Return the place in a file name: amazon_CA_3.jpg -> CA; the owner if no place is given."""
    words = re.split(r"[_\d]+", path.stem)
    return next((w for w in words[1:] if w), words[0])


def nyc(data: Path) -> Iterator[Frame]:
    """Yield tiles of New York with the boxes of their large roofs that the edge does not cut."""
    listing = data / "nyc_large_roofs" / "large_roofs.json"
    for tile in json.loads(listing.read_text()) if listing.is_file() else []:
        paths = sorted((data / "nyc_large_roofs" / "image").glob(f"{Path(str(tile['tile'])).name}.*"))
        if paths:
            roofs = [r for r in tile["large_roofs"] if not r["touches_edge"]]
            boxes = tuple(
                Box(tuple(map(float, r["bbox"])), "other_building", r["area_px"] * NYC_GSD_M**2) for r in roofs
            )
            yield Frame(paths[0], "nyc_large_roofs", f"group {tile['group']}", NYC_GSD_M, boxes)


def unlabelled(data: Path) -> Iterator[Frame]:
    """Yield scenes by class at each assumed GSD, and crops with building masks at their own and coarser GSDs."""
    for source in ("aid", "rsscn7"):
        for path in sorted((data / "scenes_without_labels" / source).glob("*/*")):
            for gsd_m in DECLARED_GSDS_M:
                yield Frame(path, f"{source} at {gsd_m:g} m", path.parent.name.lower(), gsd_m)
    for name, gsd_m in MASK_GSD_M.items():
        for path in sorted((data / "building_masks" / name).rglob("*.tif")):
            if path.parent.name in ("images", name):
                for declared in (gsd_m, *(g for g in DECLARED_GSDS_M if g > 1)):
                    yield Frame(path, f"{name} at {declared:g} m", name, declared)

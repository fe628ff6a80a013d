"""Pictures without georeference, with hand-drawn boxes, resampled to one ground sampling distance.

In: a data folder and the boxes' CSV files. Out: `Frame`s. Map pins and texts are masked as void. First and later
weights are scored on the same boxes. No file is trusted: pictures are measured before they are read, and a row or
listing that cannot be read is named.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Iterator, Sequence
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
SETS = ("named_sites", "nyc_large_roofs", "la_boston_roofs", "spacenet_vegas")
"""Data sets with boxes."""
SCENES = "scenes"
"""Name of all pictures without boxes: `scenes_without_labels` and `building_masks`."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
MAX_TABLE_BYTES = 20_000_000  # boxes and listings have some kilobytes
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
    """A stored picture: its data set (group), class or place, metres per pixel, boxes and masks.

    `unit` names pictures that the listing of the set calls overlapping; empty if it says nothing.
    """

    path: Path
    group: str
    place: str
    gsd_m: float
    boxes: tuple[Box, ...] = ()
    masks: tuple[tuple[float, float, float, float], ...] = field(default=())
    unit: str = ""

    def read(self) -> np.ndarray:
        """Return (y, x, 3) uint8.

        Raises:
            SystemExit: the file is too large or no picture.
        """
        try:
            return self._read()
        except (OSError, Image.DecompressionBombError, rasterio.errors.RasterioError) as error:
            raise SystemExit(f"{self.path}: cannot be read as a picture ({error})") from error

    def _read(self) -> np.ndarray:
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


def boxes_of(data: Path, name: str, own: Path | None = None) -> dict[str, list[dict[str, str]]]:
    """Return the box rows of a data set by file.

    They come from OWN/NAME.csv, otherwise from DATA/NAME/boxes.csv, otherwise from benchmarks/boxes; empty if none of
    them exists.
    """
    places = [*([own / f"{name}.csv"] if own else []), data / name / "boxes.csv", BOXES / f"{name}.csv"]
    path = next((p for p in places if p.is_file()), None)
    rows: dict[str, list[dict[str, str]]] = {}
    if path is None:
        return rows
    _refuse_large_table(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                _check_row(path, number, row)
                rows.setdefault(Path(row["file"]).name, []).append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SystemExit(f"{path}: not a CSV file of boxes ({error})") from error
    return rows


def _check_row(path: Path, number: int, row: dict[str, str]) -> None:
    """Refuse a row that is no box: missing columns, no numbers, or no extent."""
    try:
        x0, y0, x1, y1, gsd_m = (float(row[k]) for k in ("x0", "y0", "x1", "y1", "gsd_m"))
        area_m2 = float(row.get("area_m2") or 0)
        good = bool(row["file"] and row["class"]) and x0 < x1 and y0 < y1 and 0 < gsd_m <= 100 and area_m2 >= 0
        good = good and all(np.isfinite(v) for v in (x0, y0, x1, y1, area_m2))
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise SystemExit(f"{path}, line {number}: not a box; columns are file, x0, y0, x1, y1, class, gsd_m, area_m2")


def _refuse_large_table(path: Path) -> None:
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise SystemExit(f"{path}: {path.stat().st_size:,} bytes, more than {MAX_TABLE_BYTES:,}")


def pictures_in(data: Path, name: str) -> list[Path]:
    """Return the pictures of a data set, which lie in its folder or in the folder `image` there, by name."""
    files = [p for folder in (data / name, data / name / "image") if folder.is_dir() for p in folder.iterdir()]
    return sorted(p for p in files if p.suffix.lower() in SUFFIXES)


def boxed(data: Path, name: str, own: Path | None = None) -> Iterator[Frame]:
    """Yield the frames of a data set that have boxes; pictures without a row are skipped."""
    rows = boxes_of(data, name, own)
    for path in pictures_in(data, name):
        mine = rows.get(path.name, [])
        if not mine:
            continue
        gsd_m = float(mine[0]["gsd_m"])
        boxes = []
        for r in mine:
            x0, y0, x1, y1 = (float(r[k]) for k in ("x0", "y0", "x1", "y1"))
            full = (x1 - x0) * (y1 - y0) * gsd_m**2
            boxes.append(Box((x0, y0, x1, y1), r["class"], float(r.get("area_m2") or full)))
        yield Frame(path, name, place_of(path), gsd_m, tuple(boxes))


def place_of(path: Path) -> str:
    """Return the place in a file name: amazon_CA_3.jpg -> CA; the owner if no place is given."""
    words = re.split(r"[_\d]+", path.stem)
    return next((w for w in words[1:] if w), words[0])


def nyc(data: Path) -> Iterator[Frame]:
    """Yield tiles of New York with the boxes of their large roofs that the edge does not cut."""
    listing = data / "nyc_large_roofs" / "large_roofs.json"
    if not listing.is_file():
        return
    _refuse_large_table(listing)
    by_name = {p.stem: p for p in pictures_in(data, "nyc_large_roofs")}
    try:
        for tile in json.loads(listing.read_bytes()):
            path = by_name.get(Path(str(tile["tile"])).name)
            if path is None:
                continue
            boxes = []
            for r in tile["large_roofs"]:
                if not r["touches_edge"]:
                    x0, y0, x1, y1 = (float(v) for v in r["bbox"])
                    boxes.append(Box((x0, y0, x1, y1), "other_building", float(r["area_px"]) * NYC_GSD_M**2))
            group = f"group {tile['group']}"
            yield Frame(path, "nyc_large_roofs", group, NYC_GSD_M, tuple(boxes), unit=group)
    except (KeyError, TypeError, ValueError) as error:
        raise SystemExit(f"{listing}: not a listing of large roofs ({type(error).__name__}: {error})") from error


def labelled(data: Path, own: Path | None, names: Sequence[str] = SETS) -> tuple[list[Frame], list[str]]:
    """Return the frames with boxes of some data sets, and one line on each set or picture that is missing."""
    frames: list[Frame] = []
    notes = []
    for name in names:
        found = list(boxed(data, name, own))
        if name == "nyc_large_roofs" and not found:
            found = list(nyc(data))
        frames += found
        if not found:
            notes.append(f"{name}: no picture with boxes in {data / name}, skipped")
            continue
        have = {f.path.name for f in found}
        if lost := set(boxes_of(data, name, own)) - have:
            notes.append(f"{name}: {len(lost)} pictures have boxes but are missing, the first is {min(lost)}")
        if bare := len(pictures_in(data, name)) - len(have):
            notes.append(f"{name}: {bare} pictures have no boxes, skipped")
    return frames, notes


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

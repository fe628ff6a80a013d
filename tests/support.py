"""Helpers of the tests: files and weights made from seeds, the command line as a subprocess."""

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import shapely
import torch
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.weights import save

ROOT = Path(__file__).resolve().parent.parent
UTM_26N = "EPSG:32626"
"""The open Atlantic, where the simulator puts its scenes."""
WEST_M, NORTH_M = 500_000.0, 4_984_000.0
RGB = ("red", "green", "blue")
HANG_S = 900.0
"""Limit of a subprocess, in seconds: it guards against hanging, and says nothing of speed."""


Run = Callable[..., subprocess.CompletedProcess]


def naming(*words: object) -> str:
    """A pattern for `pytest.raises(match=...)`: the message names every one of these, in any order and any wording.

    Each stands by itself: 12 is not found in 128 or 0.12, but in 12.0.
    """
    found = ""
    for word in (str(w).removesuffix(".0") for w in words):
        before = r"(?<!\w)(?<!\d[.,])" if word[0].isalnum() else ""
        after = r"(?:\.0+)?(?!\w|[.,]\d)" if word[-1].isalnum() else ""
        found += f"(?=.*{before}{re.escape(word)}{after})"
    return f"(?s){found}"


def names(message: str, *words: object) -> bool:
    """Whether a message names all of these, as `naming` has it."""
    return re.match(naming(*words), message) is not None


def write_image(
    path: Path,
    pixels: np.ndarray,
    *,
    gsd_m: float = 2.0,
    crs: str | None = UTM_26N,
    names: tuple[str, ...] = RGB,
    block: int = 256,
    compress: str = "deflate",
    **profile: object,
) -> Path:
    """Write (band, y, x) as a tiled GeoTIFF with band names."""
    transform = Affine(gsd_m, 0, WEST_M, 0, -gsd_m, NORTH_M) if crs else None
    shape = {"driver": "GTiff", "count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    tiling = {"tiled": True, "blockxsize": block, "blockysize": block, "compress": compress}
    settings = {**shape, "dtype": pixels.dtype, "crs": crs, "transform": transform, **tiling, **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **settings) as out:
            out.write(pixels)
            if names:
                out.descriptions = names
    return path


def corrupt_block(path: Path, x: int, y: int) -> None:
    """Overwrite the compressed bytes of one block of a GeoTIFF; header and offsets stay right."""
    with rasterio.open(path) as file:
        start, size = (int(file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    with path.open("r+b") as raw:
        raw.seek(start)
        raw.write(bytes(255 - i % 256 for i in range(size)))


def save_weights(folder: Path, *, bands: tuple[str, ...] = RGB, seed: int = 4) -> Path:
    """Write small random weights with a card, their head scaled so that a patchwork gives every class."""
    torch.manual_seed(seed)
    net = SiteNet(len(bands), 4).eval()
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.normal(0, 1, (1, len(bands), 16, 16)), np.ones((1, 1, 16, 16)))
    with torch.no_grad():
        logits = net(torch.from_numpy(patches).float())
        scale = 2.5 / logits.std((0, 2, 3))
        net.head.weight.mul_(scale[:, None, None, None])
        level = torch.tensor([2.6, 0.0, 0.3, -4.5, 0.5, 0.0, *[0.0] * 4, -4.5])  # last: four kinds, substation
        net.head.bias.copy_((net.head.bias - logits.mean((0, 2, 3))) * scale + level)
    card = ModelCard(
        name="tiny", version="0", created="2026-01-01", licence="CC0-1.0", width=4, bands=bands,
        units="display_uint8", gsd_m=2.0, gsd_range_m=(0.25, 2.9), native_range_m=(1.5, 2.9),
        mean=(0.4,) * len(bands), std=(0.2,) * len(bands),
    )  # fmt: skip
    path = folder / "tiny.safetensors"
    save(net, card, path)
    return path


def registry_file(path: Path, features: list[tuple[float, float, dict[str, object]]]) -> Path:
    """Write a GeoJSON registry of points: (lon, lat, properties)."""
    rows = [
        {"type": "Feature", "properties": p, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
        for lon, lat, p in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}), encoding="utf-8")
    return path


def random_ring(vertices: int) -> shapely.Polygon:
    """A ring of random vertices in the unit square: its edges cross about vertices² / 9 times."""
    return shapely.Polygon(np.random.default_rng(0).random((vertices, 2)))


def command(*args: object) -> list[str]:
    """The command line, as a list for subprocess."""
    return [sys.executable, "-m", "overwatt", *map(str, args)]


def environment() -> dict[str, str]:
    """An environment for subprocesses: wide lines, so that help texts do not wrap."""
    return {**os.environ, "COLUMNS": "200"}

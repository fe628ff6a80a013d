"""Shared test data, all made here from seeds: nothing binary is committed for the tests."""

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from models.card import ModelCard, save
from models.network import SiteNet
from models.simulate import training_scene

ROOT = Path(__file__).resolve().parent.parent
UTM_26N = "EPSG:32626"
"""The open Atlantic, where the simulator puts its scenes."""
WEST_M, NORTH_M = 500_000.0, 4_984_000.0
RGB = ("red", "green", "blue")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave this machine: a test that needs one is wrong."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> object:
        if self.family != socket.AF_UNIX:
            host = str(address[0]) if isinstance(address, tuple) else str(address)
            if not (host.startswith("127.") or host in ("localhost", "::1")):
                raise RuntimeError(f"a test tried to reach {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real imagery, or a skip that says where it was looked for."""
    given = os.environ.get("OVERWATT_REAL_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not (folder / "ashburn" / "naip_rgb_2m.tif").is_file():
        pytest.skip(f"no real imagery at {folder}; set OVERWATT_REAL_DATA to its folder")
    return folder.resolve()


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


@pytest.fixture(scope="session")
def scene_pixels() -> np.ndarray:
    """A simulated district, (3, 700, 900) uint8 at 2 m."""
    return training_scene(5, 900, 2.0).optical[:, :700, :]


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory, scene_pixels: np.ndarray) -> Path:
    """The same as a georeferenced file. Read only: copy it before damaging it."""
    return write_image(tmp_path_factory.mktemp("scene") / "scene.tif", scene_pixels)


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A georeferenced image of 90 x 70 pixels."""
    pixels = np.random.default_rng(5).integers(1, 255, (3, 70, 90), dtype=np.uint8)
    return write_image(tmp_path_factory.mktemp("small") / "small.tif", pixels, block=16)


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
        level = torch.tensor([2.6, 0.0, 0.3, -4.5, 0.5, 0.0])
        net.head.bias.copy_((net.head.bias - logits.mean((0, 2, 3))) * scale + level)
    card = ModelCard(
        name="tiny", version="0", created="2026-01-01", licence="CC0-1.0", width=4, bands=bands,
        units="display_uint8", gsd_m=2.0, gsd_range_m=(0.25, 2.9), native_range_m=(1.5, 2.9),
        mean=(0.4,) * len(bands), std=(0.2,) * len(bands),
    )  # fmt: skip
    path = folder / "tiny.safetensors"
    save(net, card, path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights: fast, and sensitive to every pixel, which is what bit-for-bit tests need."""
    return save_weights(tmp_path_factory.mktemp("weights"))


def registry_file(path: Path, features: list[tuple[float, float, dict[str, object]]]) -> Path:
    """Write a GeoJSON registry of points: (lon, lat, properties)."""
    rows = [
        {"type": "Feature", "properties": p, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
        for lon, lat, p in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three declared facilities, one named by somebody who wishes to run code in a report or a spreadsheet."""
    return registry_file(
        tmp_path_factory.mktemp("registry") / "registry.geojson",
        [
            (-26.993, 45.004, {"id": "a-1", "name": "<script>alert(1)</script>", "it_mw": 20.0}),
            (-26.985, 45.002, {"id": "=1+1", "name": "=HYPERLINK(\"http://x\",\"y\")", "operator": "@SUM(A1)"}),
            (-26.980, 44.999, {"id": "c-3", "name": "</script><img src=x onerror=alert(2)>"}),
        ],
    )  # fmt: skip


@pytest.fixture(scope="session")
def workflow_file(tmp_path_factory: pytest.TempPathFactory, scene: Path, weights: Path, registry: Path) -> Path:
    """A workflow over the simulated district: six tiles of 384 pixels."""
    path = tmp_path_factory.mktemp("workflow") / "district.yaml"
    path.write_text(
        f"name: district\nsimulated: true\nprior: 0.3\nyear: 2025\n"
        f"imagery:\n  path: {scene}\n"
        f"declared:\n  path: {registry}\n  format: generic\n"
        f"detector:\n  weights: {weights}\n  tile_px: 384\nreport:\n  chips: 4\n",
        encoding="utf-8",
    )
    return path


Run = Callable[..., subprocess.CompletedProcess]


def command(*args: object) -> list[str]:
    """The command line, as a list for subprocess."""
    return [sys.executable, "-m", "workflows.cli", *map(str, args)]


def environment() -> dict[str, str]:
    """An environment for subprocesses in which our packages are found from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture
def overwatt(tmp_path: Path) -> Run:
    """Run the command line in a folder of its own; returns what subprocess.run does, as text."""

    def run(*args: object, timeout: float = 300) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*args), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread, as in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""Shared test data, all made here from seeds: nothing binary is committed for the tests."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.real_data import real_data
from overwatt.models.simulate import training_scene
from tests.support import HANG_S, Run, command, environment, registry_file, save_weights, write_image


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
    folder = real_data()
    if not (folder / "ashburn" / "naip_rgb_2m.tif").is_file():
        pytest.skip(f"no real imagery at {folder}; set OVERWATT_REAL_DATA to its folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def scene_pixels() -> np.ndarray:
    """A simulated district, (3, 700, 900) uint8 at 2 m."""
    return training_scene(5, 900, 2.0).optical[:, :700, :]


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory, scene_pixels: np.ndarray) -> Path:
    """The same as a georeferenced file. Read only: copy it before damaging it."""
    return write_image(tmp_path_factory.mktemp("scene") / "scene.tif", scene_pixels)


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory, scene_pixels: np.ndarray) -> Path:
    """The north-west quarter of the district, 450 x 350 pixels, where the size of the image does not matter."""
    return write_image(tmp_path_factory.mktemp("corner") / "corner.tif", scene_pixels[:, :350, :450])


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A georeferenced image of 90 x 70 pixels."""
    pixels = np.random.default_rng(5).integers(1, 255, (3, 70, 90), dtype=np.uint8)
    return write_image(tmp_path_factory.mktemp("small") / "small.tif", pixels, block=16)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights: fast, and sensitive to every pixel, which is what bit-for-bit tests need."""
    return save_weights(tmp_path_factory.mktemp("weights"))


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


@pytest.fixture
def overwatt(tmp_path: Path) -> Run:
    """Run the command line in a folder of its own; returns what subprocess.run does, as text."""

    def run(*args: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*args), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=HANG_S
        )

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread, as in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

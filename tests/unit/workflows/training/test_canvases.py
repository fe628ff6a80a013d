"""Outlined real pictures as training pictures: as they are, and with simulated sites pasted on them."""

import json

import numpy as np
import pytest
from PIL import Image

from overwatt.aoi.errors import AssetReadError, ConfigError, OverwattError, RegistryError
from overwatt.models.training.samples import DATA_CENTER, IGNORE, OTHER
from overwatt.workflows.config.training import CanvasSettings
from overwatt.workflows.training import canvases

POINT = [[0, 0]] * 3
ROOF = {"class": "other_building", "polygon": [[20, 20], [160, 20], [160, 120], [20, 120]]}
UNIT = {
    "class": "cooling_equipment", "kind": "tower", "single": True, "polygon": [[40, 40], [48, 40], [48, 48], [40, 48]],
}  # fmt: skip
ROW = {"class": "cooling_equipment", "kind": "unknown", "polygon": [[60, 40], [120, 40], [120, 48], [60, 48]]}
YARD = {"class": "substation", "polygon": [[165, 130], [190, 130], [190, 170], [165, 170]]}
PARKED = {"class": "car_park", "polygon": [[0, 150], [100, 150], [100, 190], [0, 190]]}


def settings(**changes):
    return CanvasSettings(
        name="town", images="x", outlines="y", licence="CC0-1.0", **{"pasted": 4, "seed": 3} | changes
    )


@pytest.fixture
def folder(tmp_path):
    """Two pictures of roofs and ground; only one of them is outlined completely."""
    (tmp_path / "town").mkdir()
    rng = np.random.default_rng(0)
    for name, tone in (("a", 90), ("b", 150)):
        pixels = rng.normal(tone, 6, (192, 192, 3))
        pixels[20:120, 20:160] += 60
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / "town" / f"{name}.png")
    sheet = {"gsd_m": 0.6, "complete": True, "outlines": [ROOF, UNIT, ROW, YARD, PARKED]}
    write(tmp_path, {"town/a.png": sheet, "town/b.png": {**sheet, "complete": False}})
    return tmp_path


def write(folder, sheets):
    (folder / "outlines.json").write_text(json.dumps(sheets))


def read(folder):
    return canvases.read(folder, folder / "outlines.json")


def made(folder, **changes):
    return canvases.pictures(settings(**changes), folder, folder / "outlines.json", folder / "made", lambda _: None)


def test_outlines_become_the_layers_of_complete_pictures(folder):
    (picture,) = read(folder)
    assert picture.gsd_m == 0.6
    assert (picture.building[20:120, 20:160] == OTHER).all()
    assert (picture.building == OTHER).sum() == 100 * 140  # car parks and substations are no buildings
    assert (picture.cooling == 1).sum() == 8 * 8 + 60 * 8
    assert (picture.kind[40:48, 40:48] == 1).all()
    assert (picture.kind[40:48, 60:120] == 255).all()  # of machines of unknown kind
    assert (picture.substation == 1).sum() == 25 * 40
    # the middle of a single machine; of machines drawn as one row it is not known where they are
    assert (picture.unit == 1).sum() == 4 * 4
    assert (picture.unit[40:48, 60:120] == IGNORE).all()


def test_pictures_are_sampled_as_they_are_and_with_pastes(folder):
    pictures = made(folder, pasted=6, untouched=0.4, weight=0.5)
    assert len(pictures) == 1 + 6
    assert sum(p.weight for p in pictures) == pytest.approx(0.5)
    assert pictures[0].weight == pytest.approx(0.2)
    centers = [(p.building == DATA_CENTER).any() for p in pictures[1:]]
    assert any(centers) and not all(centers)
    assert all((p.optical != pictures[0].optical).any() for p in pictures[1:])
    assert len(made(folder, pasted=0)) == 1


def test_pastes_are_made_once_and_depend_on_seed_and_outlines(folder):
    first = made(folder)
    stored = {p: p.stat().st_mtime_ns for p in (folder / "made").iterdir()}
    again = made(folder)
    assert {p: p.stat().st_mtime_ns for p in (folder / "made").iterdir()} == stored
    assert all(np.array_equal(a.optical, b.optical) for a, b in zip(first, again, strict=True))
    for p in stored:
        p.unlink()
    fresh = made(folder)
    assert all(np.array_equal(a.building, b.building) for a, b in zip(first, fresh, strict=True))
    made(folder, seed=4)
    assert len(list((folder / "made").iterdir())) == 2 * len(stored)


@pytest.mark.parametrize(
    ("sheets", "error"),
    [
        ({"../a.png": {"gsd_m": 0.6, "complete": True, "outlines": []}}, AssetReadError),
        ({"town/none.png": {"gsd_m": 0.6, "complete": True, "outlines": []}}, AssetReadError),
        ({"town/a.png": {"gsd_m": -1, "complete": True, "outlines": []}}, RegistryError),
        ({"town/a.png": {"gsd_m": 0.6, "complete": True, "outlines": [{**ROOF, "class": "roof"}]}}, RegistryError),
        ({"town/a.png": {"gsd_m": 0.6, "complete": True, "outlines": [{**ROOF, "polygon": [[0, 0]]}]}}, RegistryError),
        (
            {"town/a.png": {"gsd_m": 0.6, "complete": True, "outlines": [{**ROOF, "polygon": POINT}]}},
            RegistryError,
        ),
        ([], RegistryError),
        ({"town/b.png": {"gsd_m": 0.6, "complete": False, "outlines": []}}, ConfigError),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(folder, sheets, error):
    write(folder, sheets)
    with pytest.raises(error) as caught:
        made(folder)
    assert isinstance(caught.value, OverwattError)
    assert "\n" not in str(caught.value)


def test_no_json_and_no_file_are_refused(folder):
    (folder / "outlines.json").write_text("{")
    with pytest.raises(RegistryError):
        read(folder)
    (folder / "outlines.json").unlink()
    with pytest.raises(RegistryError):
        read(folder)

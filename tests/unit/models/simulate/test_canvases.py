from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from overwatt.aoi.errors import ConfigError
from overwatt.models.simulate import canvases, training_scene
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.camera import random_view
from overwatt.models.simulate.canvas_look import UNTOUCHED, blend, look
from overwatt.models.simulate.canvases import ORDINARY, paste, plant_on_roof
from overwatt.models.simulate.data_centers import CENTER_KINDS
from overwatt.models.simulate.streets import Lot
from overwatt.models.simulate.training_scenes import FILLERS
from tests.support import naming

LAYERS = tuple(UNTOUCHED)
LOT = Lot(d.Frame(60.0, 60.0, 0.3), 90.0, 80.0)
ROOF = shapely.box(30, 30, 110, 90)


def ground(rows: int = 200, cols: int = 200, seed: int = 0) -> np.ndarray:
    """Return sand with stones: a canvas without buildings."""
    rng = np.random.default_rng(seed)
    stones = ndimage.gaussian_filter(rng.normal(0, 60, (rows, cols)), 1.0)
    return np.clip(np.array([150, 135, 115])[:, None, None] + stones, 0, 255).astype(np.uint8)


def same(one, two) -> bool:
    """Return whether two scenes are equal in all pixels."""
    return all(np.array_equal(getattr(one, n), getattr(two, n)) for n in ("optical", *LAYERS))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gsd_m=st.floats(0.3, 2.0),
    center=st.booleans(),
    shape=st.tuples(st.integers(64, 260), st.integers(64, 260)),
)
def test_labels_agree_with_what_was_pasted(seed, gsd_m, center, shape):
    canvas = ground(*shape)
    scene = paste(canvas, gsd_m, np.random.default_rng(seed), center=center)
    changed = (scene.optical != canvas).any(0)
    assert scene.optical.shape == canvas.shape and scene.optical.dtype == np.uint8
    assert set(np.unique(scene.building)) <= {0, 1, 2, 254, 255}
    assert set(np.unique(scene.cooling)) <= {0, 1, 255} and set(np.unique(scene.unit)) <= {0, 1, 255}
    assert (2 in scene.truth["class"].map({"data_center": 2}).to_numpy()) == center
    # pixels without any label of the pasted lot keep the codes of untouched ground
    # a roof may have the colour of the canvas by chance
    pasted = np.isin(scene.building, (1, 2))
    quiet = ~ndimage.binary_dilation(changed | pasted, iterations=2)
    for name in LAYERS:
        assert (getattr(scene, name)[quiet] == UNTOUCHED[name]).all(), name
    # every pasted building is seen: few of its pixels may equal the canvas by chance
    assert not pasted.any() or changed[pasted].mean() > 0.9
    assert not (scene.building == (1 if center else 2)).any()


@pytest.mark.parametrize("kind", [*CENTER_KINDS, *ORDINARY])
def test_every_use_is_pasted_and_follows_the_generator(kind):
    lot = replace(LOT, width_m=100.0)
    one, two = (paste(ground(), 0.6, np.random.default_rng(4), kind=kind, lot=lot) for _ in range(2))
    assert same(one, two)
    assert (one.optical != ground()).any()
    assert (one.building == 2).any() == (kind in CENTER_KINDS)


def test_ordinary_uses_exist():
    assert set(ORDINARY) <= set(FILLERS) and not set(ORDINARY) & set(CENTER_KINDS)


def test_classes_are_drawn_in_equal_share():
    centers = [(paste(ground(64, 64), 1.5, np.random.default_rng(k)).truth["site_id"] == "s1").any() for k in range(60)]
    # binomial, 60 draws: 18 to 42 is beyond three standard deviations
    assert 18 <= sum(centers) <= 42


def test_the_canvas_keeps_its_labels_elsewhere():
    canvas = ground()
    labels = training_scene(1, 200, 0.6)
    scene = paste(canvas, 0.6, np.random.default_rng(1), kind="colocation", lot=LOT, labels=labels)
    free = ~ndimage.binary_dilation((scene.optical != canvas).any(0), iterations=2)
    for name in LAYERS:
        assert np.array_equal(getattr(scene, name)[free], getattr(labels, name)[free]), name
    new = scene.instance[scene.building != labels.building]
    assert new.max() > labels.instance.max()


def test_shadow_darkens_real_ground_away_from_the_sun():
    view = replace(
        random_view(np.random.default_rng(0), 0.6), sun_azimuth_deg=180.0, sun_elevation_deg=30.0, lean=(0, 0)
    )
    canvas = ground()
    lot = paste(canvas, 0.6, np.random.default_rng(5), kind="colocation", lot=LOT, view=view)
    ground_px = lot.building == 254
    change = np.where(ground_px, lot.optical.mean(0) - canvas.mean(0), 0)
    rows = np.flatnonzero((lot.building == 2).any(1))
    north, south = change[: rows[0]].sum(), change[rows[-1] + 1 :].sum()
    assert north < south


def test_roof_takes_the_class_of_its_plant(monkeypatch):
    monkeypatch.setattr(canvases, "BESIDE", 0.0)
    canvas = ground()
    for seed in range(12):
        center = seed % 2 == 0
        scene = plant_on_roof(canvas, 0.6, np.random.default_rng(seed), ROOF, center=center)
        roof = scene.building[60:140, 60:170]
        assert (roof == roof[0, 0]).all()
        assert roof[0, 0] in ((2, 255) if center else (1,))
        if roof[0, 0] == 2:
            row = scene.truth[scene.truth["class"] == "data_center"].iloc[0]
            assert 0 < row.it_mw < row.facility_mw
        machines = scene.cooling == 1
        # some ordinary roofs are car parks
        assert (machines.any() or not center) and ((scene.kind == 255) | machines).all()
        # the real roof between the machines may carry others
        assert (scene.cooling[60:140, 60:170] == 255).any()
        assert (scene.building[:40] == 254).all() and np.array_equal(scene.optical[:, :40], canvas[:, :40])


def test_vehicles_beside_a_roof_are_no_machines(monkeypatch):
    canvas = ground()
    for seed in range(8):
        scenes = []
        for share in (0.0, 1.0):
            monkeypatch.setattr(canvases, "BESIDE", share)
            scenes.append(plant_on_roof(canvas, 0.6, np.random.default_rng(seed), ROOF, center=seed % 2 == 0))
        without, beside = scenes
        on_roof = (slice(60, 140), slice(60, 170))
        assert np.array_equal(without.cooling[on_roof] == 1, beside.cooling[on_roof] == 1)
        added = beside.building != without.building
        assert (beside.optical != without.optical).any()
        # vehicles make ground known to be background: neither building nor machine
        assert added.any() and (beside.building[added] == 0).all() and (beside.cooling[added] == 0).all()


def test_what_cannot_be_pasted_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=naming("gsd_m", "2.5")):
        paste(ground(), 2.5, rng)
    with pytest.raises(ConfigError, match=naming("canvas", "float64")):
        paste(ground().astype(float), 0.6, rng)
    with pytest.raises(ConfigError, match=naming("kind", "castle")):
        paste(ground(), 0.6, rng, kind="castle")
    with pytest.raises(ConfigError, match=naming("kind", "mall")):
        paste(ground(), 0.6, rng, kind="mall", center=True)
    with pytest.raises(ConfigError, match=naming("lot", "ai_campus")):
        paste(ground(), 0.6, rng, kind="ai_campus", lot=replace(LOT, width_m=40.0))
    with pytest.raises(ConfigError, match="roof"):
        plant_on_roof(ground(), 0.6, rng, shapely.box(0, 0, 8, 8))


@given(sigma=st.floats(0.5, 1.8))
@settings(max_examples=20, deadline=None)
def test_blur_of_a_picture_is_measured(sigma):
    tiles = np.kron(np.random.default_rng(3).integers(0, 2, (16, 16)), np.ones((14, 14))) * 150 + 50
    soft = np.repeat(ndimage.gaussian_filter(tiles, sigma)[None], 3, 0)
    assert look(np.rint(soft).astype(np.uint8)).blur_px == pytest.approx(sigma, abs=0.3)


def test_noise_of_a_picture_is_measured():
    noisy = 120 + np.random.default_rng(0).normal(0, 4, (200, 200))
    assert look(np.repeat(np.rint(noisy)[None], 3, 0).astype(np.uint8)).noise == pytest.approx(4, rel=0.15)


def test_nothing_pasted_changes_nothing():
    canvas = ground()
    none = np.zeros(canvas.shape[1:], np.float32)
    rng = np.random.default_rng(0)
    assert np.array_equal(blend(canvas, np.zeros(canvas.shape, np.float32), none, none, look(canvas), 1.0, rng), canvas)

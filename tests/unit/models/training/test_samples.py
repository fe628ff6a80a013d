from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from overwatt.models.training.loss import loss_of
from overwatt.models.training.samples import IGNORE, NOT_CENTER, Augmentation, Picture, batch, crop

NY, NX = 180, 220
PLAIN = Augmentation(
    gain=(1, 1), gamma=(1, 1), cast=0, saturation=(1, 1), clip=(1, 1), haze=0, blur_px=0, noise=0,
    sharpen=0, soft=(0, 1), jpeg=0, patches=0, colours=0, spectrum=0,
)  # fmt: skip
NORM = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def ramps(**changes):
    """A picture whose pixels say where they are: red and building the column, green and cooling the row."""
    row, col = np.mgrid[:NY, :NX].astype(np.uint8)
    fields = {
        "name": "ramps",
        "optical": np.stack([col, row, np.full_like(row, 255)]),
        "valid": np.ones((NY, NX), bool),
        "building": col,
        "cooling": row,
    }
    return Picture(**{**fields, **changes})


def flat(value, weight=1.0, name="flat"):
    layer = np.full((64, 64), value, np.uint8)
    return Picture(name, np.stack([layer] * 3), layer >= 0, layer * 0, layer * 0, weight)


def same(a, b):
    return all(
        torch.equal(getattr(a, f), getattr(b, f))
        for f in ("image", "building", "cooling", "interior", "unit", "kind", "substation")
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_labels_and_image_move_together_to_half_a_pixel(seed):
    c = crop(ramps(), 64, np.random.default_rng(seed), PLAIN)
    image, valid, building, cooling = c.image, c.valid, c.building, c.cooling
    inner = valid & (building > 0) & (building < NX - 1) & (cooling > 0) & (cooling < NY - 1)
    assert (np.abs(image[0] * 255 - building)[inner] <= 0.51).all()
    assert (np.abs(image[1] * 255 - cooling)[inner] <= 0.51).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_crop_is_a_similarity_of_the_picture(seed):
    """Neighbours in the crop lie one 1/scale apart in the picture, at right angles."""
    c = crop(ramps(), 64, np.random.default_rng(seed), PLAIN)
    image, valid, building, cooling = c.image, c.valid, c.building, c.cooling
    inner = valid & (building > 0) & (building < NX - 1) & (cooling > 0) & (cooling < NY - 1)
    where = np.where(inner, image[:2] * 255, np.nan)
    across, down = where[:, :-1, 1:] - where[:, :-1, :-1], where[:, 1:, :-1] - where[:, :-1, :-1]
    length = np.sqrt((across**2).sum(0))
    ok = np.isfinite(length + down.sum(0))
    if ok.any():
        np.testing.assert_allclose(length[ok], np.median(length[ok]), atol=1e-3)
        np.testing.assert_allclose(np.sqrt((down**2).sum(0))[ok], length[ok], atol=1e-3)
        np.testing.assert_allclose((across * down).sum(0)[ok], 0, atol=1e-3)


def test_crops_turn_every_way_mirror_and_scale_log_uniformly():
    scales, angles, mirrored = [], [], 0
    inner = np.zeros((NY, NX), np.uint8)
    inner[2:-2, 2:-2] = 1
    picture = ramps(building=np.zeros((NY, NX), np.uint8), cooling=inner)
    for seed in range(400):
        c = crop(picture, 8, np.random.default_rng(seed), PLAIN)
        image, cooling = c.image, c.cooling
        if not cooling.all():
            continue
        (dx, ex), (dy, ey) = ((image[i, 0, 1] - image[i, 0, 0], image[i, 1, 0] - image[i, 0, 0]) for i in (0, 1))
        scales.append(1 / (255 * np.hypot(dx, dy)))
        angles.append(np.arctan2(dy, dx))
        mirrored += dx * ey - dy * ex < 0
    low, high = np.log(PLAIN.scale)
    place = (np.log(scales) - low) / (high - low)
    assert len(place) > 300
    assert place.min() > -0.01
    assert place.max() < 1.01
    np.testing.assert_allclose(np.quantile(place, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.07)
    assert (np.histogram(angles, 4, (-np.pi, np.pi))[0] > 0.15 * len(angles)).all()
    assert 0.4 < mirrored / len(place) < 0.6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_outside_of_the_picture_and_its_valid_part_nothing_is_known(seed, step):
    valid = np.ones((NY, NX), bool)
    valid[:, 110:] = False
    picture = ramps(valid=valid, optical=np.full((3, NY, NX), 200, np.uint8))
    b = batch([picture], seed=seed, step=step, size=2, size_px=96, augmentation=PLAIN, **NORM)
    unknown = b.building == IGNORE
    assert torch.equal(unknown, b.cooling == IGNORE)
    assert (b.image.movedim(1, -1)[unknown] == 0).all()
    assert (b.building[~unknown] < 110).all()
    deep = (b.building > 0) & (b.building < 109) & (b.cooling > 0) & (b.cooling < NY - 1)
    expected = (200 / 255 - torch.tensor(NORM["mean"])) / torch.tensor(NORM["std"])
    torch.testing.assert_close(b.image.movedim(1, -1)[deep], expected.expand(int(deep.sum()), 3), atol=1e-4, rtol=0)


def test_crops_wholly_outside_are_wholly_unknown():
    building = np.zeros((NY, NX), np.uint8)
    building[0, 0] = 2
    picture = ramps(building=building, optical=np.full((3, NY, NX), 200, np.uint8))
    near = Augmentation(scale=(100, 101))  # a crop is a pixel of the picture, some way off its corner
    b = batch([picture], seed=0, step=0, size=60, size_px=64, augmentation=near, **NORM)
    outside = (b.building == IGNORE).flatten(1).all(1)
    assert 1 < int(outside.sum()) < 55
    assert (b.image[outside] == 0).all()
    assert (b.cooling[outside] == IGNORE).all()
    assert b.image.isfinite().all()


def test_unknown_outlines_stay_unknown():
    building = np.zeros((NY, NX), np.uint8)
    building[:, ::2] = IGNORE
    b = batch([ramps(building=building)], seed=0, step=0, size=4, size_px=64, **NORM)
    assert set(b.building.unique().tolist()) == {0, IGNORE}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_a_batch_depends_on_seed_and_step_alone(seed, step):
    draw = {"size": 2, "size_px": 32, **NORM}
    used = ramps()
    first = batch([used, flat(90)], seed=seed, step=step, **draw)
    batch([used], seed=seed + 1, step=step, **draw)
    np.random.default_rng(0).random()
    assert same(first, batch([used, flat(90)], seed=seed, step=step, **draw))
    assert same(first, batch([ramps(), flat(90)], seed=seed, step=step, **draw))  # no hidden state in the picture
    assert not same(first, batch([used, flat(90)], seed=seed, step=step + 1, **draw))
    assert not same(first, batch([used, flat(90)], seed=seed + 1, step=step, **draw))
    step_on, seed_on = (batch([used], seed=seed + i, step=step + 1 - i, **draw) for i in (0, 1))
    assert not same(step_on, seed_on)


def test_shapes_and_types():
    b = batch([ramps()], seed=0, step=0, size=3, size_px=64, **NORM)
    assert b.image.shape == (3, 3, 64, 64)
    assert b.image.dtype == torch.float32
    assert b.building.shape == b.cooling.shape == (3, 64, 64)
    assert b.building.dtype == b.cooling.dtype == torch.int64


def test_pictures_are_drawn_by_weight():
    pictures = [flat(0, 3, "dark"), flat(255, 1, "bright"), flat(128, 0, "never")]
    draw = {"size_px": 32, "mean": (0, 0, 0), "std": (1, 1, 1), "augmentation": PLAIN}
    b = batch(pictures, seed=1, step=1, size=300, **draw)
    values = [round(float(i.max()), 1) for i in b.image]
    assert set(values) == {0.0, 1.0}
    assert 0.18 < values.count(1.0) / 300 < 0.32


def test_crops_are_centred_on_labels_three_times_in_four():
    building = np.zeros((400, 400), np.uint8)
    building[100:110, 300:310] = 2
    building[300:310, 100:110] = 1
    dark = np.zeros((3, 400, 400), np.uint8)
    picture = Picture("two", dark, np.ones((400, 400), bool), building, building * 0)
    shown = [set(np.unique(crop(picture, 32, np.random.default_rng(s), PLAIN).building)) for s in range(300)]
    assert 0.3 < np.mean([2 in s for s in shown]) < 0.5
    assert 0.25 < np.mean([1 in s for s in shown]) < 0.45
    np.testing.assert_array_equal(picture.centres(2)[[0, -1]], [[100, 300], [109, 309]])


def test_centres_are_valid_pixels_of_the_label_and_few():
    building = np.ones((200, 200), np.uint8)
    valid = np.ones((200, 200), bool)
    valid[:50] = False
    centres = ramps(building=building, valid=valid).centres(1)
    assert 4096 <= len(centres) < 8192
    assert centres[:, 0].min() >= 50
    assert len(ramps(building=building, valid=valid).centres(2)) == 0


@pytest.mark.parametrize("bands", [1, 4])
def test_any_number_of_bands(bands):
    picture = ramps(optical=np.full((bands, NY, NX), 100, np.uint8))
    b = batch([picture], seed=0, step=0, size=2, size_px=32, mean=(0.5,) * bands, std=(0.2,) * bands)
    assert b.image.shape == (2, bands, 32, 32)
    assert b.image.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_tone_keeps_values_between_0_and_1(seed):
    image = crop(ramps(), 32, np.random.default_rng(seed), Augmentation()).image
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_the_interior_keeps_away_from_every_outline_and_from_the_neighbour():
    building, instance = np.zeros((NY, NX), np.uint8), np.zeros((NY, NX), np.uint16)
    building[40:100, 40:160] = 2
    instance[40:100, 40:100], instance[40:100, 100:160] = 1, 2
    still = replace(PLAIN, scale=(1.0, 1.0001))
    picture = ramps(building=building, instance=instance, gsd_m=2.0)
    for seed in range(5):
        c = crop(picture, 96, np.random.default_rng(seed), still)
        where = ndimage.label(c.interior == 1)[1]
        seen = [n for n in (1, 2) if ((c.interior == 1) & (c.image[0] * 255 // 100 == n - 1)).sum() > 50]
        assert where >= len(seen)
        assert not ((c.interior == 1) & (c.building != 2)).any()
        col = c.image[0] * 255
        assert not ((c.interior == 1) & (np.abs(col - 99.5) < 1.5)).any()


def test_machines_are_targets_only_where_pixels_are_fine():
    unit = np.ones((NY, NX), np.uint8)
    still = replace(PLAIN, scale=(1.0, 1.0001))
    fine, coarse = (crop(ramps(unit=unit, gsd_m=g), 32, np.random.default_rng(1), still).unit for g in (0.5, 2.0))
    assert set(np.unique(fine)) <= {0, 1}
    assert 1 in fine
    assert (coarse == IGNORE).all()


def test_what_is_no_data_center_is_learned_as_that_and_nothing_more():
    building = np.full((NY, NX), NOT_CENTER, np.uint8)
    b = batch([ramps(building=building, cooling=building * 0 + IGNORE)], seed=0, step=0, size=2, size_px=64, **NORM)
    logits = torch.zeros(2, 6, 64, 64, requires_grad=True)
    loss_of(logits, b).backward()
    assert float(logits.grad[:, 2].sum()) > 0  # less data center
    assert (logits.grad[:, 3:] == 0).all()
    even = logits.grad[:, 0] - logits.grad[:, 1]
    assert float(even.abs().max()) == 0  # background or other building: not said


def test_thermal_bands_are_there_in_some_crops_and_absent_in_others():
    heat = np.full((1, NY, NX), 5.0, np.float32)
    norm = {"mean": (*NORM["mean"], 0.0), "std": (*NORM["std"], 2.0)}
    b = batch([ramps(thermal=heat)], seed=0, step=0, size=30, size_px=32, **norm)
    warm = b.image[:, 3].flatten(1).abs().sum(1) > 0
    assert 5 < int(warm.sum()) < 25


def test_a_crop_takes_the_colours_of_another():
    rng = np.random.default_rng(0)
    looks = (rng.normal(60, 8, (3, 200, 200)), rng.normal([[[200]], [[120]], [[40]]], 25, (3, 200, 200)))
    layer = np.zeros((200, 200), np.uint8)
    pictures = [Picture(str(i), x.clip(0, 255).astype(np.uint8), layer == 0, layer, layer) for i, x in enumerate(looks)]

    def means(**changes):
        drawn = batch(
            pictures, seed=2, step=0, size=8, size_px=64, mean=(0, 0, 0), std=(1, 1, 1),
            augmentation=replace(PLAIN, **changes),
        )  # fmt: skip
        return drawn.image.mean((2, 3)).numpy()

    own, lent = means(), means(colours=1.0)
    near = np.abs(lent[:, None] - own[None]).max(-1)
    # every crop has the mean colours of some crop of the batch, some that of the other picture
    assert (near.min(1) < 0.02).all()
    assert (np.abs(lent - own).max(1) > 0.1).any()


def test_the_spectrum_of_another_crop_changes_the_tone_but_not_the_edges():
    step = np.where(np.arange(128) < 64, 40, 90)[None, None].repeat(3, 0).repeat(128, 1).astype(np.uint8)
    bright = np.full((3, 128, 128), 220, np.uint8)
    layer = np.zeros((128, 128), np.uint8)
    pictures = [Picture(str(i), x, layer == 0, layer, layer) for i, x in enumerate((step, bright))]
    drawn = batch(
        pictures, seed=1, step=3, size=8, size_px=64, mean=(0, 0, 0), std=(1, 1, 1),
        augmentation=replace(PLAIN, spectrum=1.0),
    )  # fmt: skip
    assert torch.isfinite(drawn.image).all()
    assert drawn.image.min() >= 0 and drawn.image.max() <= 1


def test_kinds_and_substations_follow_the_crop():
    layer = np.zeros((96, 96), np.uint8)
    kind, yard = layer + 255, layer.copy()
    kind[30:60, 30:60], yard[60:90, 60:90] = 2, 1
    picture = replace(ramps(), optical=np.stack([layer] * 3), valid=layer == 0, building=layer, cooling=layer,
                      instance=None, unit=None, kind=kind, substation=yard)  # fmt: skip
    drawn = batch([picture], seed=0, step=0, size=6, size_px=96, mean=(0, 0, 0), std=(1, 1, 1), augmentation=PLAIN)
    assert set(drawn.kind.unique().tolist()) == {2, 255}
    assert {0, 1} <= set(drawn.substation.unique().tolist())
    plain = batch([replace(picture, kind=None, substation=None)], seed=0, step=0, size=2, size_px=96,
                  mean=(0, 0, 0), std=(1, 1, 1), augmentation=PLAIN)  # fmt: skip
    assert (plain.kind == 255).all() and (plain.substation == 255).all()

"""Pictures of the same ground: found by their pixels, and their roofs and sites counted once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.elsewhere.counted import rows_of
from benchmarks.elsewhere.frames import Box, Frame
from benchmarks.elsewhere.looks import Look, Roof
from benchmarks.elsewhere.overlaps import joined, overlaps, same_roofs


def mosaic(seed):
    """A city of blocks, (y, x, 3) uint8."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(30, 230, (60, 60)), np.ones((8, 8)))
    return np.repeat((blocks + rng.normal(0, 4, blocks.shape)).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def tile(folder, name, pixels, boxes=(), gsd_m=1.0, group="set", unit=""):
    path = folder / f"{name}.png"
    Image.fromarray(pixels).save(path)
    return Frame(path, group, name, gsd_m, tuple(boxes), unit=unit)


@pytest.fixture
def frames(tmp_path):
    city, darker = mosaic(1), (mosaic(1) * 0.7).astype(np.uint8)
    roof, cut, other = (
        Box(xyxy, k, a)
        for xyxy, k, a in (
            ((220, 120, 280, 180), "data_center", 3600), ((120, 20, 180, 80), "data_center", 3600),
            ((10, 10, 60, 60), "data_center", 2500),
        )
    )  # fmt: skip
    return [
        tile(tmp_path, "a", city[:300, :300], [roof, other]),
        tile(tmp_path, "b", darker[100:400, 100:400], [cut]),
        tile(tmp_path, "c", mosaic(2)[:300, :300], [other]),
        # the same ground as a, with pixels of half the size
        tile(tmp_path, "d", np.kron(city[50:250, 50:250], np.ones((2, 2, 1), np.uint8)), gsd_m=0.5),
    ]


def test_overlaps_and_their_shifts_are_found(frames):
    found = {(o.a, o.b): (o.dx_m, o.dy_m) for o in overlaps(frames)}
    assert set(found) == {(0, 1), (0, 3), (1, 3)}
    assert found[0, 1] == pytest.approx((100, 100), abs=3)
    assert found[0, 3] == pytest.approx((50, 50), abs=3)


def test_flat_pictures_show_no_common_ground(tmp_path):
    grey = np.full((100, 100, 3), 90, np.uint8)
    assert overlaps([tile(tmp_path, n, grey) for n in "ab"]) == []


def test_a_roof_in_two_pictures_is_one_roof(frames):
    number = same_roofs(frames, overlaps(frames))
    assert number[0] == number[2]
    assert len(set(number.tolist())) == 3


@given(st.integers(1, 8), st.data())
def test_things_in_a_chain_of_pairs_are_one(count, data):
    pairs = [(i, i + 1) for i in range(count - 1) if data.draw(st.booleans())]
    group = joined(count, pairs)
    assert len(set(group.tolist())) == count - len(pairs)
    assert all(group[a] == group[b] for a, b in pairs)


def looks(frames):
    out = []
    for f in frames:
        roofs = tuple(
            Roof(f.path.name, f.group, f.place, b.klass, b.area_m2, s, 1.0)
            for b, s in zip(f.boxes, (0.8, 0.3), strict=False)
        )
        out.append(Look(f, roofs, (), 1.0))
    return out


def test_pictures_of_one_data_center_are_one_site(frames, tmp_path):
    rows, twice = rows_of(looks(frames[:3]), tmp_path)
    assert twice == {"roofs": 1, "sites": 1}
    assert len(rows) == 3
    assert len({r.unit for r in rows}) == 2
    assert rows_of(looks(frames[:3]), tmp_path) == (rows, twice)  # overlaps from the cache


def test_ordinary_pictures_that_overlap_or_are_listed_together_are_one_unit(frames):
    plain = [replace(f, boxes=tuple(replace(b, klass="other_building") for b in f.boxes)) for f in frames[:3]]
    rows, twice = rows_of(looks(plain))
    assert twice == {"roofs": 1, "sites": 0}
    assert len({r.unit for r in rows}) == 2
    listed = [replace(f, unit="group 1") for f in plain]
    rows, _ = rows_of(looks(listed))
    assert len({(r.unit, r.half, r.place) for r in rows}) == 1

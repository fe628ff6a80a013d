"""Blocks, blanking, calibration, and a training from a file, end to end and tiny."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import ndimage

from aoi.errors import ConfigError
from models import card as cards
from models.evaluate import Outline
from models.samples import IGNORE, Picture
from workflows import training
from workflows.folds import blocks_of, objects, without
from workflows.training_file import FoldSettings

TRANSFORM = Affine(2, 0, 500000, 0, -2, 4400000)


def boxes(n=6, size=24, gap=60):
    return [(20 + gap * (i % 3), 20 + gap * (i // 3), size) for i in range(n)]


def picture(shape=(160, 220)):
    building = np.zeros(shape, np.uint8)
    for i, (x, y, s) in enumerate(boxes()):
        building[y : y + s, x : x + s] = 1 + i % 2
    optical = np.repeat((building * 100 + 40)[None], 3, axis=0).astype(np.uint8)
    return Picture("p", optical, np.ones(shape, bool), building, np.zeros(shape, np.uint8))


def test_blocks_cover_everything_and_cut_no_building():
    p = picture()
    block = blocks_of(p, FoldSettings(blocks=3, guard_m=0))
    assert set(np.unique(block)) == {0, 1, 2}
    labels, n = ndimage.label(p.building)
    for i in range(1, n + 1):
        assert len(np.unique(block[labels == i])) == 1


def test_too_few_buildings_for_the_blocks_is_said():
    p = picture()
    with pytest.raises(ConfigError, match="6 buildings cannot be cut into 9"):
        blocks_of(p, FoldSettings(blocks=9))


def test_a_held_out_block_is_neither_seen_nor_learned_from():
    p = picture()
    held = blocks_of(p, FoldSettings(blocks=3)) == 0
    blank = without(p, held, guard_px=5)
    assert not blank.valid[held].any()
    assert not blank.optical[:, held].any()
    near = ndimage.binary_dilation(held, iterations=3)
    assert (blank.building[near] == IGNORE).all()
    far = ndimage.distance_transform_edt(~held) > 6
    assert (blank.building[far] == p.building[far]).all()


def test_a_held_out_object_is_what_covers_most_of_it():
    square = [shapely.box(i * 20, 0, i * 20 + 10, 10) for i in range(4)]
    labels = [
        Outline("data_center", shapely.box(0, 0, 10, 6)), Outline("other_building", shapely.box(0, 6, 10, 10)),
        Outline("other_building", square[1]), Outline("unknown", square[2]), Outline("data_center", square[3]),
    ]  # fmt: skip
    predicted = [
        Outline("data_center", square[0]), Outline("data_center", square[1]), Outline("data_center", square[2]),
        Outline("other_building", square[3]), Outline("cooling_equipment", square[3]),
    ]  # fmt: skip
    block = np.repeat(np.arange(4), 20)[None].repeat(10, 0)
    score, center, where = objects(predicted, np.array([0.9, 0.8, 0.7, 0.6, 0.9]), labels, block)
    assert center.tolist() == [True, False, True]
    np.testing.assert_allclose(score, [0.9, 0.8, 0.4])
    assert where.tolist() == [0, 1, 3]


def write_case(folder):
    p = picture()
    with rasterio.open(
        folder / "image.tif", "w", driver="GTiff", width=220, height=160, count=3, dtype="uint8",
        crs="EPSG:32631", transform=TRANSFORM,
    ) as out:  # fmt: skip
        out.write(p.optical)
        out.descriptions = ("red", "green", "blue")
    shapes = [shapely.box(x, y, x + s, y + s) for x, y, s in boxes()]
    mapped = [shapely.transform(g, lambda xy: np.column_stack(TRANSFORM * (xy[:, 0], xy[:, 1]))) for g in shapes]
    frame = gpd.GeoDataFrame(
        {"class": ["other_building" if i % 2 == 0 else "data_center" for i in range(6)]}, geometry=mapped, crs=32631
    )
    frame.to_crs(4326).to_file(folder / "outlines.geojson", driver="GeoJSON")
    (folder / "train.yaml").write_text(
        """
name: tiny
version: 0.0.1
licence: test
gsd_m: 2.0
gsd_range_m: [0.5, 2.9]
native_range_m: [1.5, 2.9]
pictures:
  - {name: made, image: image.tif, outlines: outlines.geojson, licence: test, scored_against: outlines.geojson}
training: {steps: 2, batch: 2, crop_px: 64, width: 4, imagenet: false, precision: float32}
folds: {blocks: 2, guard_m: 4}
"""
    )
    return folder / "train.yaml"


@pytest.mark.slow
def test_train_from_a_file_cross_validates_and_records_it_in_the_card(tmp_path):
    config = write_case(tmp_path)
    lines: list[str] = []
    folds = training.run(config, tmp_path / "out", folds="spatial", say=lines.append)
    assert set(folds["scores"]) >= {"own_outlines, unlabelled ignore", "independent_labels, unlabelled background"}
    first = training.run(config, tmp_path / "out", folds=None, say=lines.append)
    card = cards.load_card(tmp_path / "out" / "tiny.safetensors")
    assert card.scores == json.loads((tmp_path / "out" / "folds.json").read_text())["scores"]
    assert card.training[0].extent is not None
    assert card.training[0].image_sha256
    again = training.run(config, tmp_path / "other", folds=None, say=lines.append)
    assert again["sha256"] == first["sha256"]


def test_a_random_split_is_not_offered(tmp_path):
    with pytest.raises(ConfigError, match="only 'spatial'"):
        training.run(write_case(tmp_path), tmp_path / "out", folds="random", say=print)

"""Blocks, blanking, calibration, and a training from a file, end to end and tiny."""

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from scipy import ndimage

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import CHANNELS, ModelCard, load_card
from overwatt.models.detector.network import SiteNet
from overwatt.models.evaluation.metrics import Outline
from overwatt.models.simulate import excess_k, training_scene
from overwatt.models.training.checkpoint import Curve
from overwatt.models.training.samples import IGNORE, Picture, batch
from overwatt.workflows.config.training import FoldSettings, SimulatedSettings, TrainingFile
from overwatt.workflows.config.yaml import load_yaml
from overwatt.workflows.training import samples as sources
from overwatt.workflows.training import train
from overwatt.workflows.training.calibration import calibrate
from overwatt.workflows.training.cross_validation import blocks_of, objects, offset_for, without
from tests.support import names, naming

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
    with pytest.raises(ConfigError, match=naming(6, 9)):
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
    assert (
        objects(predicted, np.array([0.9, 0.8, 0.7, 0.6, 0.9]), labels, block, 101)[0].size == 0
    )  # all have 100 pixels
    # machines and substations on a labelled building are no buildings
    more = [*predicted, *(replace(predicted[0], klass=k) for k in ("generator", "substation", "cooling_equipment"))]
    again = objects(more, np.array([0.9, 0.8, 0.7, 0.6, 0.9, 0.5, 0.5, 0.5]), labels, block)
    assert [a.tolist() for a in again] == [score.tolist(), center.tolist(), where.tolist()]


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


@pytest.mark.slow  # about 12 s
def test_train_from_a_file_cross_validates_and_records_it_in_the_card(tmp_path):
    config = write_case(tmp_path)
    lines: list[str] = []
    folds = train.run(config, tmp_path / "out", folds="spatial", say=lines.append)
    assert set(folds["scores"]) >= {"own_outlines, unlabelled ignore", "independent_labels, unlabelled background"}
    first = train.run(config, tmp_path / "out", folds=None, say=lines.append)
    card = load_card(tmp_path / "out" / "tiny.safetensors")
    assert card.scores == json.loads((tmp_path / "out" / "folds.json").read_text())["scores"]
    assert card.training[0].extent is not None
    assert card.training[0].image_sha256
    again = train.run(config, tmp_path / "other", folds=None, say=lines.append)
    assert again["sha256"] == first["sha256"]


@pytest.mark.slow  # about 10 s
def test_a_fold_starts_from_its_own_fold_of_an_earlier_training(tmp_path):
    """With `keep_start` 1 the result is the start: fold k must be the earlier fold k, not another."""
    config = write_case(tmp_path)
    text = config.read_text().replace("steps: 2,", "steps: 1, keep_start: 1,")
    config.write_text(text + "start_folds: earlier\n")
    (tmp_path / "earlier").mkdir()
    card = train.draft_card(load_yaml(config, TrainingFile))
    for k in range(2):
        torch.manual_seed(k)
        weight_files.save(SiteNet(3, 4), card, tmp_path / "earlier" / f"fold{k}.safetensors")
    train.run(config, tmp_path / "out", folds="spatial", say=print)
    for k in range(2):
        made, given = (
            weight_files.load(tmp_path / folder / f"fold{k}.safetensors")[0].state_dict()
            for folder in ("out", "earlier")
        )
        learned = [n for n in given if given[n].is_floating_point() and not n.startswith("novelty")]
        assert all(torch.equal(made[n], given[n]) for n in learned)


def test_the_branch_for_machines_learns_from_scenes_and_canvases_of_fine_pixels(tmp_path, monkeypatch):
    config = write_case(tmp_path)
    config.write_text(
        config.read_text()
        + """
canvases: [{name: c, images: ., outlines: o.json, licence: test, pasted: 1, untouched: 0.3, scale: [0.3, 1.2]}]
machines:
  canvases: 0.6
  untouched: 0.75
  simulated: {tiles: 2, weight: 0.4}
  training: {learn: machines, steps: 1, batch: 2, crop_px: 64, width: 4}
"""
    )
    machine = np.zeros((160, 220), np.uint8)
    machine[50:54, 50:58] = 1
    asked = []

    def canvases(settings, *_):
        asked.append(settings)
        plain, pasted = settings.untouched * settings.weight, (1 - settings.untouched) * settings.weight
        return [replace(picture(), name="real", gsd_m=0.3, weight=plain, scale=settings.scale),
                replace(picture(), name="pasted", gsd_m=0.6, weight=pasted, scale=settings.scale)]  # fmt: skip

    def scenes(settings, *_):
        both = [replace(picture(), name="bare", unit=0 * machine), replace(picture(), name="plant", unit=machine)]
        return [replace(s, weight=settings.weight / 2, scale=settings.scale) for s in both]

    learned = {}

    def learn(pictures, bands, settings, *, start, **_):
        learned[settings.learn] = pictures
        return start or SiteNet(3, 4)

    monkeypatch.setattr(train.canvas_sources, "pictures", canvases)
    monkeypatch.setattr(train.sources, "simulated", scenes)
    monkeypatch.setattr(train, "train", learn)
    monkeypatch.setattr(train, "curve", lambda _: Curve((), (), None, False))
    train.run(config, tmp_path / "out", folds=None, say=print)
    weight = {p.name: p.weight for p in learned["machines"]}
    assert weight == pytest.approx({"plant": 0.2, "real": 0.45, "pasted": 0.15})  # a bare scene would teach nothing
    scale = {p.name: p.scale for p in learned["machines"]}
    assert scale["real"] == pytest.approx((0.3 / 0.72, 0.3 / 0.45))
    assert scale["pasted"] == pytest.approx((0.6 / 0.72, 0.6 / 0.45))
    assert [s.untouched for s in asked] == [0.3, 0.75]
    assert {p.scale for p in learned["all"] if p.name in ("real", "pasted")} == {(0.3, 1.2)}


def test_a_given_offset_is_not_fitted(tmp_path):
    card = train.draft_card(load_yaml(write_case(tmp_path), TrainingFile))
    score, center = np.array([0.2, 0.6, 0.7, 0.9]), np.array([False, False, True, True])
    assert offset_for(card, score, center) == pytest.approx(np.log(0.6 / 0.4))
    assert offset_for(card.model_copy(update={"offset": 1.5}), score, center) == 1.5
    assert offset_for(card.model_copy(update={"scoring": "mean"}), score, center) == 0


def test_a_random_split_is_not_offered(tmp_path):
    with pytest.raises(ConfigError, match=naming("--folds", "'random'", "'spatial'")):
        train.run(write_case(tmp_path), tmp_path / "out", folds="random", say=print)


def test_a_real_picture_gets_a_thermal_band_that_is_nowhere_measured():
    (p,) = sources.not_measured([picture()], 1)
    assert p.thermal.shape == (1, 160, 220)
    assert np.isnan(p.thermal).all()
    drawn = batch([p], seed=0, step=0, size=2, size_px=64, mean=(0.4, 0.4, 0.4, 0.0), std=(0.2, 0.2, 0.2, 3.0))
    assert drawn.image.shape == (2, 4, 64, 64)
    assert not drawn.image[:, 3].any()
    plain = [picture()]
    assert sources.not_measured(plain, 0) is plain


def test_simulated_scenes_take_the_point_spreads_in_turn_and_show_ground_and_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ProcessPoolExecutor", lambda *a, **kw: _Here())
    settings = SimulatedSettings(tiles=3, size_px=128, gsds_m=(2.0, 1.0), psfs_m=(5.0, 30.0), seed=3)
    pictures = sources.simulated(settings, tmp_path, print)
    assert [p.name.rsplit("-", 1)[1] for p in pictures] == ["heat5", "heat30", "heat5"]
    for k, p in enumerate(pictures):
        assert p.thermal.shape == (1, 128, 128)
        assert p.thermal.dtype == np.float32
        assert np.isfinite(p.thermal).all()
        sources_alone = excess_k(training_scene(3 + k, 128, p.gsd_m), 5.0, 3.5, 3 + k)
        assert p.thermal.std() > 0.1  # the ground shows also where nothing is hot
        assert not np.allclose(p.thermal[0], sources_alone, atol=0.2)
    # drawn bilinearly: no steps of the sensor's pixel, 18 m at 1 m
    assert np.abs(np.diff(pictures[1].thermal[0], axis=1)).max() < np.ptp(pictures[1].thermal) / 5


class _Here:
    """Renders where it is asked: no processes for three small scenes."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    map = staticmethod(map)


def thermal_case(folder):
    """Weights of three bands and a file that goes on from them with a fourth."""
    card = ModelCard(
        name="tiny", version="0", created="2026-01-01", licence="CC0-1.0", width=4, bands=("red", "green", "blue"),
        units="display_uint8", gsd_m=2.0, gsd_range_m=(0.5, 2.9), native_range_m=(1.5, 2.9),
        mean=(0.4,) * 3, std=(0.2,) * 3,
    )  # fmt: skip
    weight_files.save(SiteNet(3, 4).eval(), card, folder / "start.safetensors")
    config = write_case(folder)
    text = config.read_text().split("training:")[0]
    config.write_text(
        f"""{text}
start: start.safetensors
thermal_bands: [thermal_excess]
simulated: {{tiles: 4, held_out: 1, size_px: 128, gsds_m: [2], psfs_m: [5, 12], seed: 4}}
training:
  {{steps: 2, batch: 2, crop_px: 64, width: 4, imagenet: false, precision: float32,
   mean: [0.4, 0.4, 0.4, 0], std: [0.2, 0.2, 0.2, 3]}}
"""
    )
    return config


@pytest.mark.slow  # about 12 s
def test_thermal_weights_go_on_from_optical_ones_and_carry_two_calibrations(tmp_path):
    lines: list[str] = []
    train.run(thermal_case(tmp_path), tmp_path / "out", folds=None, say=lines.append)
    net, card = weight_files.load(tmp_path / "out" / "tiny.safetensors")
    assert net.bands == card.channels == 4
    assert card.mean[3] == 0
    assert card.std[3] == 3
    assert card.calibration_thermal is not None
    assert set(card.scores) == {"held-out simulated scenes, with heat", "held-out simulated scenes, without heat"}
    assert names(card.training[1].name, 1, "calibration")
    assert any(names(line, 1, "calibration") for line in lines)


def test_weights_of_another_width_cannot_be_started_from(tmp_path):
    config = thermal_case(tmp_path)
    text = config.read_text()
    assert "width: 4" in text
    config.write_text(text.replace("width: 4", "width: 8"))
    with pytest.raises(ConfigError, match=naming("training.width", 4, 8)):
        train.run(config, tmp_path / "out", folds=None, say=print)


def test_all_stages_have_one_width():
    sizes = {"gsd_m": 1, "gsd_range_m": (1, 2), "native_range_m": (1, 2)}
    with pytest.raises(ValueError, match=naming("pretraining.width", 4, "training.width", 8)):
        TrainingFile(name="a", version="1", licence="CC0", **sizes, pretraining={"width": 4}, training={"width": 8})


def test_thermal_weights_need_scenes_with_heat(tmp_path):
    config = thermal_case(tmp_path)
    config.write_text(config.read_text().replace(", psfs_m: [5, 12]", ""))
    with pytest.raises(ConfigError, match=naming("thermal_bands", "simulated.psfs_m")):
        train.run(config, tmp_path / "out", folds=None, say=print)


def test_calibrations_are_fitted_apart_on_the_same_scenes(monkeypatch):
    """A detector that outlines every building, and knows its class from the thermal band alone."""

    def look(detector, read, shape, gsd_m):
        values, valid = read(0, 0, *shape)
        p = np.zeros((len(CHANNELS), *valid.shape), np.uint8)
        building = values[0] > 0.3
        center = values[3] > 0 if len(values) > 3 else np.zeros_like(building)
        p[0], p[4] = np.where(building, 0, 255), np.where(building, 255, 0)
        p[1], p[2] = np.where(building & ~center, 155, 0), np.where(building & ~center, 100, 0)
        p[1], p[2] = np.where(building & center, 30, p[1]), np.where(building & center, 225, p[2])
        p[7] = p[2]
        return p, valid

    monkeypatch.setattr("overwatt.workflows.training.calibration.predict", look)
    p = picture()
    heat = np.where(p.building == 2, 5.0, 0.0)[None].astype(np.float32)
    instance = ndimage.label(p.building)[0].astype(np.uint16)
    scenes = [Picture("s", p.optical, p.valid, p.building, p.cooling, instance=instance, thermal=heat)] * 4
    found = calibrate(SiteNet(4, 4), ModelCard.model_construct(thermal_bands=("thermal_excess",)), scenes)
    without, with_heat = (found["scores"][f"held-out simulated scenes, {k} heat"] for k in ("without", "with"))
    assert without["objects"] == with_heat["objects"] == 24
    assert without["data_centers"] == 12
    assert without["auc"] == 0.5
    assert with_heat["auc"] == 1
    assert with_heat["brier"] < 0.02 < without["brier"]
    assert found["calibration_thermal"].b > found["calibration"].b

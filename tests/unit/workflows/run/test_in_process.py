"""Tiles computed in this process: the same as anywhere else, bounded in memory, and honest about what failed."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import AssetReadError, ModelContractError
from overwatt.models.detector.card import load_card
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.windows import lattice
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io.images import open_image
from overwatt.workflows.run import computing, in_process
from overwatt.workflows.run.computing import plan_tiles
from overwatt.workflows.run.looked_at import LookedAt
from overwatt.workflows.run.tile import Job, unpack


class Broken:
    """A source that cannot be read in some rows."""

    def __init__(self, source, rows, error):
        self.source, self.rows, self.error = source, rows, error

    def __getattr__(self, name):
        return getattr(self.source, name)

    def read(self, y0, x0, y1, x1):
        if y0 < self.rows[1] and y1 > self.rows[0]:
            raise self.error
        return self.source.read(y0, x0, y1, x1)


@pytest.fixture(scope="module")
def card(weights):
    return load_card(weights)


@pytest.fixture(scope="module")
def image(scene, card):
    return open_image(scene, card)


@pytest.fixture(scope="module")
def job(image, weights, card):
    return Job(image, weights, card, None, DetectSettings.of(card))


@pytest.fixture(scope="module")
def detector(weights):
    return Detector.load(weights, "cpu")


def outcome(job, detector, tiles, cores):
    """Probability and validity of the whole image, regions as sorted rows, and what failed."""
    probability, valid = np.zeros((4, *job.source.shape), np.uint8), np.zeros(job.source.shape, bool)
    failed, regions = {}, []

    def on_done(tile, status, result):
        assert threading.current_thread() is threading.main_thread()
        if status == "failed":
            failed[tile.name] = result
            return
        y0, x0, y1, x1 = tile.core
        p, seen, *tables = unpack(result, tile)
        probability[:, y0:y1, x0:x1], valid[y0:y1, x0:x1] = p, seen
        for table in tables:
            regions.extend((k, g.wkb) for k, g in zip(table["kind"], table["geometry"], strict=True))

    in_process.run_tiles(job, detector, tiles, on_done, cores)
    return probability, valid, sorted(regions), failed


@pytest.fixture(scope="module")
def whole(job, detector):
    return outcome(job, detector, plan_tiles(job.source), 1)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tile_px=st.integers(200, 1200), cores=st.integers(1, 3), seed=st.integers(0, 9))
def test_tile_size_order_and_threads_change_nothing(job, detector, whole, tile_px, cores, seed):
    tiles = plan_tiles(job.source, None, tile_px)
    order = np.random.default_rng(seed).permutation(len(tiles))
    probability, valid, _, failed = outcome(job, detector, [tiles[k] for k in order], cores)
    np.testing.assert_array_equal(probability, whole[0])
    np.testing.assert_array_equal(valid, whole[1])
    assert failed == {}


def test_threads_of_torch_are_as_before(job, detector):
    before = torch.get_num_threads()
    outcome(job, detector, plan_tiles(job.source)[:1], 2)
    assert torch.get_num_threads() == before


def test_tiles_are_whole_cells_unless_they_are_asked_to_be_smaller(image):
    cell = lattice(image.shape, image.gsd_m).cell_px
    assert cell == (704, 480)
    assert len(plan_tiles(image)) == 2
    assert [t.core for t in plan_tiles(image, None, 720)] == [(0, 0, 700, 480), (0, 480, 700, 900)]
    assert [t.core for t in plan_tiles(image, None, 5000)] == [(0, 0, 700, 900)]
    assert len(plan_tiles(image, None, 300)) == 9


def test_what_cannot_be_read_fails_by_name_and_the_rest_is_computed(job, detector, whole, image):
    broken = Job(
        Broken(image, (0, 10), AssetReadError("damaged", "scene.tif")), job.weights, job.card, None, job.settings
    )
    tiles = plan_tiles(image, None, 480)
    *_, failed = outcome(broken, detector, tiles, 2)
    assert set(failed) == {t.name for t in tiles}  # the windows of all tiles reach row 0
    assert set(failed.values()) == {"damaged"}


def test_an_unexpected_error_ends_the_run(job, detector, image):
    broken = Job(Broken(image, (0, 999), ZeroDivisionError()), job.weights, job.card, None, job.settings)
    with pytest.raises(ZeroDivisionError):
        outcome(broken, detector, plan_tiles(image), 1)


def test_weights_that_changed_since_are_refused(job, weights):
    other = Job(job.source, weights, job.card.model_copy(update={"weights_sha256": "0" * 64}), None, job.settings)
    with pytest.raises(ModelContractError, match="changed"), computing.computing(other, None, 1):
        pass


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_looked_at_does_not_depend_on_the_tiles(image, data):
    """Cells of the lattice, whatever pieces they come in; what failed stays apart."""
    seen = np.ones(image.shape, bool)
    for _ in range(data.draw(st.integers(0, 3))):
        y, x = data.draw(st.integers(0, 650)), data.draw(st.integers(0, 850))
        seen[y : y + data.draw(st.integers(1, 300)), x : x + data.draw(st.integers(1, 300))] = False
    tables = []
    for tile_px in (None, data.draw(st.integers(90, 700))):
        looked = LookedAt(image, None)
        for tile in data.draw(st.permutations(plan_tiles(image, None, tile_px))):
            y0, x0, y1, x1 = tile.core
            looked.add(tile.core, seen[y0:y1, x0:x1])
        tables.append(looked.table())
    one, two = tables
    assert one.drop(columns="geometry").equals(two.drop(columns="geometry"))
    assert one.geometry.to_wkb().tolist() == two.geometry.to_wkb().tolist()
    assert one["imaged"].between(0, 1).all()


def test_ground_that_failed_has_a_row_of_its_own(image):
    looked = LookedAt(image, None)
    for tile in plan_tiles(image, None, 350):
        bad = tile.name == "r000c000"
        y0, x0, y1, x1 = tile.core
        looked.add(tile.core, None if bad else np.ones((y1 - y0, x1 - x0), bool), "damaged" if bad else "")
    table = looked.table().set_index("cell")
    assert table.index.tolist() == ["r000c000", "r000c000 failed", "r000c001"]
    failed = table.loc["r000c000 failed"]
    assert failed["failed"]
    assert not failed["screened"]
    assert failed["imaged"] == 0
    assert failed["reason"] == "damaged"
    assert table["asked_km2"].sum() == pytest.approx(700 * 900 * 4 / 1e6, rel=2e-3)
    assert failed["asked_km2"] == pytest.approx(350 * 350 * 4 / 1e6, rel=2e-3)
    assert not table.loc["r000c000"].geometry.overlaps(failed.geometry)

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage, stats

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference.facts import unit_models
from overwatt.models.simulate import Scene, excess_k, ground_contrast_k, training_scene
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.camera import random_view
from overwatt.models.simulate.data_centers import CENTER_KINDS, IT_SHARE_OF_COOLING, build_center
from overwatt.models.simulate.palette import PLACES, World, new_palette
from overwatt.models.simulate.scene import frame_scene
from overwatt.models.simulate.streets import Lot
from overwatt.models.simulate.thermal import PROCESS_MW
from overwatt.models.simulate.training_scenes import FILLERS, OPEN, fill
from tests.support import naming


def _world(seed: int, place: str = "estate") -> World:
    rng = np.random.default_rng(seed)
    drawing = d.Drawing(finest_m=0.2)
    return World(drawing, new_palette(drawing, rng, place), rng, [])


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Scenes of few pixels: what stands there does not depend on how finely it is drawn."""
    return [training_scene(seed, 80, 9.0) for seed in range(60)]


@pytest.fixture(scope="module")
def fine() -> Scene:
    """A scene at 0.5 m with single machines in view."""
    return next(s for s in (training_scene(k, 320, 0.5) for k in range(20)) if s.unit.sum() > 1000)


@pytest.mark.parametrize("gsd_m", [0.3, 0.6, 2.0, 12.0])
def test_scene_is_determined_by_its_seed(gsd_m):
    one, two = training_scene(3, 96, gsd_m), training_scene(3, 96, gsd_m)
    for name in ("optical", "building", "cooling", "instance", "unit", "machines"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.truth.to_json() == two.truth.to_json()
    assert not np.array_equal(one.optical, training_scene(4, 96, gsd_m).optical)


@pytest.mark.parametrize("gsd_m", [0.29, 12.1, float("nan")])
def test_other_ground_sizes_are_refused(gsd_m):
    with pytest.raises(ConfigError, match=naming("gsd_m", f"{gsd_m:g}", 0.3, 12)):
        training_scene(0, 32, gsd_m)


def test_a_tiny_scene_with_long_shadows_is_drawn():
    assert training_scene(603728158, 48, 0.6).optical.shape == (3, 48, 48)


def test_other_bands_are_refused():
    with pytest.raises(ConfigError, match=naming("bands", "'swir'", "'rgb'")):
        training_scene(0, 32, 2.0, bands="swir")


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), gsd_m=st.sampled_from([0.6, 1.0, 3.0, 8.0]))
def test_masks_are_the_truth(seed, gsd_m):
    scene = training_scene(seed, 128, gsd_m)
    assert scene.optical.shape == (3, 128, 128)
    assert scene.optical.dtype == scene.building.dtype == scene.cooling.dtype == scene.unit.dtype == np.uint8
    assert scene.instance.dtype == np.uint16
    assert scene.optical.std() > 1
    truth = scene.truth

    def drawn(category):
        shapes = [(g, 1) for g in truth.geometry[truth["class"] == category]]
        mask = np.zeros_like(scene.building)
        return (rasterize(shapes, out_shape=mask.shape, transform=scene.transform) if shapes else mask) == 1

    assert np.array_equal(scene.building == 2, drawn("data_center"))
    # machines of other use are in the mask too, but not in the truth; unresolved ones are unknown
    assert (scene.cooling[drawn("cooling_equipment")] > 0).all()
    assert np.array_equal(scene.kind < 255, scene.cooling == 1)
    assert set(np.unique(scene.substation)) <= {0, 1}
    assert truth.is_valid.all()
    assert truth.object_id.is_unique
    assert np.array_equal(scene.instance > 0, scene.building > 0)
    for number in np.unique(scene.instance[scene.instance > 0]):
        row = truth.iloc[number - 1]
        codes = np.unique(scene.building[scene.instance == number])
        assert len(codes) == 1
        assert (codes[0] == 2) == (row["class"] == "data_center")


def test_touching_buildings_have_their_own_numbers():
    w = _world(5, "city")
    fill(w, Lot(d.Frame(60, 60, 0.2), 100.0, 90.0), "city_block")
    outlines = [t.outline for t in w.things if t.category == "other_building"]
    touching = sum(a.distance(b) < 0.5 for i, a in enumerate(outlines) for b in outlines[:i])
    assert touching > 0
    numbers = frame_scene(w.things, np.zeros((3, 160, 160), dtype=np.uint8), 1.0).instance
    left, right = numbers[:, :-1], numbers[:, 1:]
    assert ((left != right) & (left > 0) & (right > 0)).any()


def test_units_are_counted_and_lie_in_their_bank(fine):
    truth, machines = fine.truth, fine.machines
    banks = np.flatnonzero(truth["class"] == "cooling_equipment")
    counts = np.bincount(machines[:, 0].astype(int), minlength=len(truth))
    assert np.array_equal(counts, truth.units)
    assert (counts[banks] > 0).all()
    for row in banks:
        x, y = machines[machines[:, 0] == row][:, 1:3].T
        grown = truth.geometry.iloc[row].buffer(0.01)
        assert grown.covers(shapely.MultiPoint(np.column_stack([x, y])))
    assert (fine.cooling[fine.unit == 1] == 1).all()


def test_neighbouring_machines_do_not_touch_in_the_unit_mask(fine):
    labels, _ = ndimage.label(fine.unit)
    col, row = (~fine.transform * (fine.machines[:, 1], fine.machines[:, 2])) // np.array([[1], [1]])
    seen = (col > 2) & (row > 2) & (col < labels.shape[1] - 3) & (row < labels.shape[0] - 3)
    middle = labels[row[seen].astype(int), col[seen].astype(int)]
    assert len(middle) > 20
    assert (middle > 0).mean() > 0.97
    found = middle[middle > 0]
    assert len(np.unique(found)) == len(found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5_000), kind=st.sampled_from(sorted(CENTER_KINDS)))
def test_power_follows_from_the_machines_that_stand_there(seed, kind):
    w = _world(seed)
    lot = Lot(d.Frame(400, 400, 0.3), 330.0, 290.0)
    assert build_center(w, lot, "s1", kind)
    buildings = [t for t in w.things if t.category == "data_center"]
    banks = [t for t in w.things if t.category == "cooling_equipment"]
    it_mw = sum(t.it_mw for t in buildings)
    assert {t.kind for t in buildings} == {kind}
    assert it_mw > 0
    assert 1.05 < sum(t.facility_mw for t in buildings) / it_mw < 1.9
    capacity = {m.machine: set() for m in unit_models().values()}
    for m in unit_models().values():
        capacity[m.machine].add(m.capacity_kw)
    for bank in banks:
        assert len(bank.machines) == bank.units
        assert bank.capacity_kw / bank.units in capacity[bank.kind]
        assert bank.unit_area_m2 <= bank.outline.area * 1.001
    if banks:
        assert it_mw == pytest.approx(IT_SHARE_OF_COOLING * sum(b.capacity_kw for b in banks) / 1000)
    if kind == "no_plant":
        assert not banks
    whole = lot.frame.box(0, 0, lot.width_m + 30, lot.depth_m + 30)
    assert all(whole.covers(t.outline) for t in w.things)


def test_a_center_that_does_not_fit_leaves_nothing():
    w = _world(0)
    assert not build_center(w, Lot(d.Frame(0, 0, 0), 40.0, 38.0), "s1", "ai_campus")
    assert w.things == []
    assert w.drawing.shapes == []


def test_every_kind_occurs(scenes):
    seen = set().union(*(set(s.truth.kind) for s in scenes))
    assert set(CENTER_KINDS) <= seen
    assert {"chiller", "dry_cooler", "tower", "air_handler"} <= seen
    others = {
        "warehouse", "skylight_warehouse", "pv_warehouse", "cold_store", "factory", "mall", "big_box", "office",
        "hospital", "laboratory", "car_deck", "apartments", "city_block", "school", "greenhouse", "self_storage",
        "depot",
    }  # fmt: skip
    assert others <= seen
    assert set(PROCESS_MW) <= seen


@pytest.mark.parametrize("kind", sorted(OPEN))
def test_open_ground_holds_no_large_building(kind):
    w = _world(2)
    FILLERS[kind](w, Lot(d.Frame(100, 100, 0), 150.0, 120.0))
    assert all(t.outline.area < 400 for t in w.things)
    assert len(w.drawing.shapes) > 0


def test_a_third_of_the_scenes_hold_no_data_center(scenes):
    empty = np.mean([not (s.truth["class"] == "data_center").any() for s in scenes])
    assert 0.2 < empty < 0.5


def test_sizes_do_not_tell_data_centers_from_others(scenes):
    """Mann-Whitney on buildings of 2,000 m2 and more: the share of pairs in which the data center is larger."""
    areas = {}
    for category in ("data_center", "other_building"):
        size = np.concatenate([s.truth.area[s.truth["class"] == category] for s in scenes])
        areas[category] = size[size >= 2_000]
    a, b = areas["data_center"], areas["other_building"]
    larger = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
    assert 0.35 < larger < 0.7
    assert 2.0 < len(b) / len(a) < 6.0
    edges = [2_000, 3_000, 6_000, 12_000, 25_000, 80_000]
    for sizes in (a, b):
        assert (np.histogram(sizes, edges)[0] > 0).all()


def test_roofs_of_both_have_the_same_colours():
    """Paints are drawn by one rule: no roof tone belongs to data centers alone."""
    tone: dict[str, list[float]] = {"center": [], "other": []}
    for seed in range(60):
        for what in tone:
            w = _world(seed * 2 + (what == "center"))
            before = len(w.drawing.paints)
            lot = Lot(d.Frame(200, 200, 0), 220.0, 170.0)
            if what == "center":
                build_center(w, lot, "s1", "hyperscale_hall")
            else:
                fill(w, Lot(lot.frame, 145.0, 140.0), "warehouse")
            tone[what].append(w.drawing.paints[before][1])
    assert stats.ks_2samp(tone["center"], tone["other"]).pvalue > 1e-3


def test_views_vary_in_sun_and_sensor():
    rng = np.random.default_rng(0)
    views = [random_view(rng, 1.0) for _ in range(300)]
    azimuth = np.array([v.sun_azimuth_deg for v in views])
    north = (azimuth < 90) | (azimuth > 270)
    assert 0.1 < north.mean() < 0.35
    assert all(15 < v.sun_elevation_deg < 75 for v in views)
    assert sum(v.jpeg_quality == 0 for v in views) > 10
    assert sum(v.jpeg_quality in range(20, 60) for v in views) > 10
    assert 0 < sum(v.labels > 0 for v in views) < 60
    assert sum(np.hypot(*v.lean) > 0.1 for v in views) > 30


def test_places_look_different():
    means = {}
    for place in PLACES:
        paints = [np.array(w.drawing.paints[w.paints.grass][:3]) for w in (_world(k, place) for k in range(12))]
        means[place] = np.mean(paints, axis=0)
    assert means["desert"][0] > means["forest"][0] + 40


def test_lean_shifts_a_roof_by_its_height():
    w = _world(1)
    w.drawing.lean = (0.2, -0.1)
    fill(w, Lot(d.Frame(100, 100, 0), 140.0, 130.0), "office")
    flat = _world(1)
    fill(flat, Lot(d.Frame(100, 100, 0), 140.0, 130.0), "office")
    a, b = (next(t for t in x.things if t.kind == "office").outline.centroid for x in (w, flat))
    dx, dy = a.x - b.x, a.y - b.y
    assert dx / dy == pytest.approx(-2.0)
    assert 7 * 0.2 <= dx <= 42 * 0.2


def _warm(scenes: list[Scene]) -> Scene:
    for s in scenes:
        inside = s.truth[s.truth["class"] != "other_building"].bounds
        west, north, side = s.transform.c, s.transform.f, s.building.shape[0] * s.transform.a
        box = (inside.minx > west + 60) & (inside.maxx < west + side - 60)
        if len(inside) and box.all() and ((inside.miny > north - side + 60) & (inside.maxy < north - 60)).all():
            return s
    raise AssertionError("no scene holds its sites whole")


def test_excess_is_s_times_power_and_without_heat_there_is_none(scenes):
    scene = _warm(scenes)
    none = scene.truth[scene.truth["class"] == "cooling_equipment"].iloc[:0]
    cold = Scene(scene.optical, scene.building, scene.cooling, scene.transform, scene.crs, none)
    assert not excess_k(cold, 12.0, 8.0, 1).any()
    alone = scene.truth[~scene.truth["kind"].isin(set(PROCESS_MW))]
    site = Scene(scene.optical, scene.building, scene.cooling, scene.transform, scene.crs, alone)
    mw = alone.facility_mw.sum()
    s = [excess_k(site, 12.0, 8.0, k).sum() * scene.transform.a**2 / mw for k in range(40)]
    assert np.median(s) == pytest.approx(200, rel=0.45)
    assert 0.3 < np.log(s).std() < 1.2


def test_a_blunter_sensor_spreads_the_same_heat(scenes):
    scene = _warm(scenes)
    sharp, blunt = (excess_k(scene, psf, 8.0, 3) for psf in (10.0, 50.0))
    assert sharp.max() > 1.2 * blunt.max()
    assert blunt.sum() == pytest.approx(sharp.sum(), rel=0.3)
    assert sharp.shape == scene.building.shape
    assert sharp.dtype == np.float32
    coarse = excess_k(scene, 60.0, 24.0, 3)
    assert len(np.unique(coarse[:3, :3])) == 1
    ground = ground_contrast_k(scene, 60.0, 24.0, 3)
    assert ground.shape == coarse.shape
    assert 0.1 < ground.std() < 3


@pytest.mark.parametrize(("psf_m", "gsd_m"), [(10, 3.0), (10, 31.0), (0, 10.0)])
def test_sensors_out_of_range_are_refused(scenes, psf_m, gsd_m):
    with pytest.raises(ConfigError, match=naming("sensor")):
        excess_k(scenes[0], psf_m, gsd_m, 0)


def test_every_unit_model_names_its_source_and_sits_near_the_published_law():
    models = unit_models().values()
    assert all(m.source for m in models)
    chillers = [m for m in models if m.machine == "chiller"]
    towers = [m for m in models if m.machine == "tower"]
    assert len(chillers) >= 50
    assert len(towers) >= 40
    ratio = np.log([m.capacity_kw / (50.9 * (m.length_m * m.width_m) ** 1.05) for m in chillers])
    assert abs(ratio.mean()) < 0.1
    assert ratio.std() < 0.25
    fan = np.log([m.capacity_kw / (245 * m.fan_diameter_m**2.07) for m in towers])
    assert abs(fan.mean()) < 0.35

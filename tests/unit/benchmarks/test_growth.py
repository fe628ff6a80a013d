"""The growth benchmark runs what it says, on few tiles; nothing is timed."""

import numpy as np
import pandas as pd
import shapely

from benchmarks.growth import __main__ as command
from benchmarks.growth import scene
from benchmarks.growth.measure import measure
from overwatt.aoi.grid import Tile
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.pipeline.detection.footprints import finish, merge_footprints, split
from overwatt.pipeline.detection.vectorization import DetectSettings, vectorize_tile
from overwatt.workflows.config.run import load
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.run_folder import read_table


def test_a_run_over_stored_tiles_joins_what_crosses_their_borders(tmp_path):
    file, out = scene.prepare(tmp_path / "in", 6), tmp_path / "run"
    assert scene.store(load(file), out) == 36
    found = measure(str(file), str(out))
    assert {"tiles", "footprints", "sites", "power", "ledger", "tables", "report"} <= found["by_stage"].keys()
    assert found["tiles"] == 36
    table = read_table(out / "footprints.parquet", "footprints")
    # the first five by five tiles: the pattern in one piece, less what its edge cuts
    whole, n = scene.pattern(), scene.TILE_PX * scene.SIDE
    valid = np.ones((n, n), bool)
    gsd_m = open_image(tmp_path / "in" / "image.tif", verified(DEFAULT_WEIGHTS)).gsd_m  # on the ground
    regions = vectorize_tile(whole, valid, (0, 0), "r000c000", ~valid, DetectSettings(), gsd_m)
    inner = regions[~split(regions, (0, 0, n, n))]
    alone = merge_footprints([inner], transform=None, crs=None, gsd_m=gsd_m, scene="s", settings=DetectSettings())
    assert len(alone) > 2000
    assert set(alone["object_id"].str[1:]) <= set(table["object_id"].str[1:])


def test_tiles_of_the_pattern_are_moved_as_a_whole():
    settings = DetectSettings()
    arrays = scene.stored(settings, scene.GSD_M)[2, 3]
    moved = scene.placed(arrays, Tile("r007c008", 7, 8, (1792, 2048, 2048, 2304)))
    _, _, waiting, done = scene.unpack(moved, Tile("r007c008", 7, 8, (1792, 2048, 2048, 2304)))
    assert waiting["tile"].unique().tolist() == ["r007c008"]
    part = scene.pattern()[:, 512:768, 768:1024]
    valid = np.ones((256, 256), bool)
    regions = vectorize_tile(part, valid, (1792, 2048), "r007c008", ~valid, settings, scene.GSD_M)
    waits = split(regions, (1792, 2048, 2048, 2304))
    pd.testing.assert_frame_equal(waiting, regions[waits].reset_index(drop=True), check_dtype=False)
    wanted = finish(regions[~waits], settings, scene.GSD_M)
    pd.testing.assert_frame_equal(done.drop(columns="geometry"), wanted.drop(columns="geometry"), check_dtype=False)
    # of two directions that fit alike, rounding decides
    apart = shapely.area(shapely.symmetric_difference(done["geometry"].to_numpy(), wanted["geometry"].to_numpy()))
    assert (apart <= 0.1 * shapely.area(wanted["geometry"].to_numpy())).all()
    assert np.median(apart) < 1e-6


def test_the_summary_states_the_slope():
    small = {"by_stage": {"a": 1.0, "b": 0.0}, "footprints": 100, "peak_mb": 1, "tiles": 1, "sites": 1, "ledger": 1}
    large = {**small, "by_stage": {"a": 4.0, "b": 0.0}, "footprints": 400, "peak_mb": 900.4}
    found = command.summary([small, large])
    assert found["exponent"] == 1.0
    assert found["peak_mb"] == 900
    assert found["by_stage"]["a"] == {"seconds": 4.0, "share": 1.0, "exponent": 1.0}
    assert found["by_stage"]["b"]["exponent"] is None

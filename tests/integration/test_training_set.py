"""A national training set from a real STAC API over loopback: simulated counties, and Ashburn where it is there."""

import json
import re
import threading

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import stamina
from affine import Affine
from pyproj import Transformer
from shapely.geometry import box, mapping

from overwatt.aoi.errors import CatalogError, ConfigError
from overwatt.models.simulate import training_scene
from overwatt.models.training import tileset
from overwatt.workflows.national import build as training_set
from tests.stac_server import Handler, StacServer
from tests.support import names, naming

SIDE_PX, GSD_M = 320, 2.0
CRS = "EPSG:32626"
SEEDS = {"A": (31, 21), "B": (23, 55), "C": (57, 89)}
"""Scenes of three counties; chosen because each county has data centers and other large roofs."""


class FaultyHandler(Handler):
    """Answers images with the statuses in `server.image_failures` first, and only with a valid signature."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path.endswith(".tif"):
            if self.server.image_failures:
                status = self.server.image_failures.pop(0)
                if status:
                    return self.answer({"description": "fault"}, status)
            if any(name in path for name in self.server.blocked):
                return self.answer({"description": "expired"}, 403)
            if self.server.signature and query != f"sig={self.server.signature}":
                return self.answer({"description": "expired"}, 403)
        return super().do_GET()

    def search(self, query):
        super().search(query)
        if self.server.after_search:
            self.server.after_search()


@pytest.fixture
def server(tmp_path):
    with StacServer(tmp_path / "served") as running, stamina.set_testing(True, attempts=3):
        running.folder.mkdir()
        running.RequestHandlerClass = FaultyHandler
        running.image_failures, running.blocked, running.signature, running.after_search = [], set(), "", None
        running.page = 10
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(timeout=5)


def lonlat(frame):
    return frame.set_crs(CRS, allow_override=True).to_crs("OGC:CRS84")


@pytest.fixture(scope="module")
def scenes():
    """(name, county, scene, transform, truth in degrees), one beside another with gaps of 2 km."""
    out = []
    for n, (county, seed) in enumerate((c, s) for c, seeds in SEEDS.items() for s in seeds):
        scene = training_scene(seed, SIDE_PX, GSD_M)
        shift = n * 2600.0
        transform = Affine.translation(shift, 0) * scene.transform
        truth = scene.truth.assign(geometry=scene.truth.geometry.translate(shift, 0))
        out.append((f"{county.lower()}{seed}", county, scene, transform, lonlat(truth)))
    return out


def write_cog(path, pixels, transform, crs):
    """A Cloud Optimised GeoTIFF, as NAIP is served; no nodata stated.

    Its header lies in front: rasterio reads overviews' headers while it holds the interpreter's lock, which the
    server in this process needs to answer.
    """
    profile = {"driver": "COG", "count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2]}
    with rasterio.open(path, "w", dtype="uint8", crs=crs, transform=transform, blocksize=128, overviews="auto",
                       compress="deflate", **profile) as file:  # fmt: skip
        file.write(pixels)


BANDS = [{"name": n, "common_name": n.lower()} for n in ("Red", "Green", "Blue", "NIR")]


def add_item(server, name, pixels, transform, crs=CRS, when="2023-06-01T10:00:00Z", asset="image", gsd=GSD_M):
    write_cog(server.folder / f"{name}.tif", pixels, transform, crs)
    ny, nx = pixels.shape[1:]
    to = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    shown = box(*to.transform_bounds(transform.c, transform.f + ny * transform.e, transform.c + nx * transform.a,
                                     transform.f))  # fmt: skip
    server.items.append(
        {
            "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "naip", "links": [],
            "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
            "geometry": mapping(shown), "bbox": list(shown.bounds),
            "properties": {
                "datetime": when, "gsd": gsd, "proj:epsg": int(crs.split(":")[1]), "proj:shape": [ny, nx],
                "proj:transform": list(transform)[:6],
            },
            "assets": {asset: {"href": f"{server.url}/{name}.tif", "type": "image/tiff", "roles": ["data"],
                               "eo:bands": BANDS}},
        }
    )  # fmt: skip


def rgbn(optical):
    """Four bands, none of them zero: near-infrared stands in from green."""
    return np.maximum(np.concatenate([optical, optical[1:2]]), 1)


def serve(server, scenes, **changes):
    for name, _, scene, transform, _ in scenes:
        add_item(server, name, rgbn(scene.optical), transform, **changes)


def write_files(folder, scenes, drop=0):
    """Registry, footprints and counties; the first `drop` data centers of the registry are points only."""
    buildings = gpd.pd.concat([t.assign(county=c) for _, c, _, _, t in scenes], ignore_index=True)
    buildings = buildings[buildings["class"] != "cooling_equipment"]
    centers = buildings[buildings["class"] == "data_center"].reset_index(drop=True)
    places = [g.centroid if i < drop else g for i, g in enumerate(centers.geometry)]
    rows = [{"type": "Feature", "properties": {"class": "data_center"}, "geometry": mapping(g)} for g in places]
    (folder / "registry.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    lines = [json.dumps({"type": "Feature", "properties": {}, "geometry": mapping(g)}) for g in buildings.geometry]
    (folder / "roofs.geojsonl").write_text("\n".join(lines), encoding="utf-8")
    shapes = {
        c: box(*shapely.total_bounds(np.array([g for _, k, _, _, t in scenes if k == c for g in t.geometry])))
        for c in {c for _, c, _, _, _ in scenes}
    }
    counties = gpd.GeoDataFrame({"GEOID": list(shapes)}, geometry=list(shapes.values()), crs="OGC:CRS84")
    counties.to_file(folder / "counties.geojson")


SETTINGS = """
name: three-counties
seed: 1
registry: [{{path: registry.geojson, format: own, licence: ODbL-1.0, attribution: "© somebody | <b>else</b>"}}]
footprints: [{{path: roofs.geojsonl, source: microsoft}}]
counties: {{path: counties.geojson, key: GEOID}}
imagery: {{url: "{url}", gsd_m: {gsd}, source_gsd_m: 2.0, block_px: 128}}
sampling: {{others_per_data_center: 1, min_area_m2: 400, clear_m: 60, bands_per_doubling: 0.5, point_zone_m: 80}}
tiles: {{side_m: 256, min_valid: 0.5}}
splits: {{guard_m: 40, fixed: {{A: train, B: val, C: test}}}}
workers: {workers}
"""


def settings(folder, server, gsd=2.0, workers=1):
    path = folder / "national.yaml"
    path.write_text(SETTINGS.format(url=server.url, gsd=gsd, workers=workers), encoding="utf-8")
    return path


def build(path, out, **changes):
    lines = []
    return training_set.build(path, out, say=lines.append, **changes), lines


def test_build_index_and_leak_check(server, scenes, tmp_path):
    serve(server, scenes)
    write_files(tmp_path, scenes, drop=1)
    ticks = []
    planned = training_set.plan(settings(tmp_path, server), say=lambda _: None)
    assert server.log == []  # a plan asks nobody
    result, _ = build(settings(tmp_path, server), tmp_path / "set", tick=lambda *n: ticks.append(n))
    assert result["failed"] == {}
    assert ticks[-1] == (planned["tiles"], 0, planned["tiles"])
    assert len(server.log) <= planned["requests"]
    index = tileset.read_index(tmp_path / "set")
    assert tileset.check([tmp_path / "set"]) == []
    assert dict(index.groupby("place")["split"].first()) == {"A": "train", "B": "val", "C": "test"}
    assert set(index["split"]) == {"train", "val", "test"}
    for split in ("train", "val", "test"):
        for picture in tileset.pictures_of(tmp_path / "set", split):
            assert picture.gsd_m == 2.0
            assert picture.optical.shape == (3, 128, 128)
            assert (picture.cooling == 255).all()
    assert index["data_center_px"].sum() > 0
    assert index["other_building_px"].sum() > 0
    assert index["unknown_px"].sum() > 0
    assert all("ODbL" in text and "public domain" in text for text in index["licence"])
    credits = (tmp_path / "set" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert result["share_alike"]
    assert "share-alike" in credits
    assert "<b>" not in credits


def test_pixels_and_labels_lie_where_they_should(server, scenes, tmp_path):
    """On the scenes' own lattice the tiles are exact cut-outs, and masks agree with the scenes' truth."""
    serve(server, scenes)
    write_files(tmp_path, scenes)
    path = settings(tmp_path, server, gsd="null")
    build(path, tmp_path / "set")
    index = tileset.read_index(tmp_path / "set")
    by_name = {name: (scene, transform) for name, _, scene, transform, _ in scenes}
    agree = []
    for _, row in index.iterrows():
        scene, transform = by_name[row["image"]]
        optical, valid, mask = tileset.read_tile(tmp_path / "set", row)
        with rasterio.open(tmp_path / "set" / row["path"]) as file:
            col, top = (round(v) for v in ~transform @ (file.transform.c, file.transform.f))
        ys, xs = np.nonzero(valid)
        truth = rgbn(scene.optical)[:3, top + ys, col + xs]
        np.testing.assert_array_equal(optical[:, ys, xs], truth)
        known = np.isin(mask[0, ys, xs], (0, 1, 2)) & np.isin(scene.building[top + ys, col + xs], (0, 1, 2))
        agree.append(((mask[0, ys, xs] == scene.building[top + ys, col + xs]) & known).sum() / known.sum())
    assert min(agree) > 0.98


def test_a_second_build_asks_for_nothing_and_gives_the_same(server, scenes, tmp_path):
    serve(server, scenes[:4])
    write_files(tmp_path, scenes[:4])
    text = settings(tmp_path, server).read_text().replace(", C: test", "")
    (tmp_path / "national.yaml").write_text(text)
    build(tmp_path / "national.yaml", tmp_path / "set")
    first = (tmp_path / "set" / "index.parquet").read_bytes()
    server.log.clear()
    _, lines = build(tmp_path / "national.yaml", tmp_path / "set")
    assert server.log == []
    assert any("stored already" in line for line in lines)
    assert (tmp_path / "set" / "index.parquet").read_bytes() == first
    (tmp_path / "national.yaml").write_text(text.replace("workers: 1", "workers: 2"))
    build(tmp_path / "national.yaml", tmp_path / "other")
    assert (tmp_path / "other" / "index.parquet").read_bytes() == first


def test_503_that_clears_is_not_seen(server, scenes, tmp_path):
    serve(server, scenes[:2])
    write_files(tmp_path, scenes[:2])
    path = settings(tmp_path, server, workers=1)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    server.failures = [503, 0, 503]
    server.image_failures = [503, 0, 503, 503]
    result, _ = build(path, tmp_path / "set")
    assert result["failed"] == {}
    assert server.image_failures == []


def test_an_expired_signature_is_asked_for_again_and_never_written(server, scenes, tmp_path):
    """The catalogue hands out signed addresses; the first one has expired by the time it is read."""
    serve(server, scenes[:2])
    write_files(tmp_path, scenes[:2])
    path = settings(tmp_path, server, workers=1)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    plain = {i["id"]: i["assets"]["image"]["href"] for i in server.items}
    issued = []

    def sign():
        issued.append(f"TOKEN{len(issued)}")
        server.signature = issued[-1] if len(issued) > 1 else "ANOTHER"
        for item in server.items:
            item["assets"]["image"]["href"] = f"{plain[item['id']]}?sig={issued[-1]}"

    sign()
    searches = []

    def after():
        searches.append(1)
        if len(searches) == 1:
            server.signature = "ANOTHER"
            for item in server.items:
                item["assets"]["image"]["href"] = f"{plain[item['id']]}?sig=ANOTHER"

    server.after_search = after
    result, lines = build(path, tmp_path / "set")
    assert result["failed"] == {}
    assert len(searches) == result["tiles"] + len(result["set_aside"]) + 1
    for file in (tmp_path / "set").rglob("*"):
        if file.is_file():
            assert b"TOKEN" not in file.read_bytes()
            assert b"ANOTHER" not in file.read_bytes()
    assert not re.search("TOKEN|ANOTHER", " ".join(lines))


def test_what_stays_closed_is_named_and_the_same_command_finishes(server, scenes, tmp_path):
    serve(server, scenes[:2])
    write_files(tmp_path, scenes[:2])
    path = settings(tmp_path, server)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    server.blocked = {scenes[0][0]}
    result, _ = build(path, tmp_path / "set")
    assert result["failed"]
    assert all(f"{scenes[0][0]}.tif" in why for why in result["failed"].values())
    assert set(tileset.read_index(tmp_path / "set")["image"]) == {scenes[1][0]}
    assert any("failed" in line for line in training_set.summary_lines(result))
    server.blocked = set()
    again, _ = build(path, tmp_path / "set")
    assert again["failed"] == {}
    assert again["tiles"] > result["tiles"]
    assert again["plan"]["tiles"] == again["tiles"] + len(again["set_aside"])


def test_a_missing_asset_is_named(server, scenes, tmp_path):
    serve(server, scenes[:1])
    add_item(server, scenes[1][0], rgbn(scenes[1][2].optical), scenes[1][3], asset="thumbnail")
    write_files(tmp_path, scenes[:2])
    path = settings(tmp_path, server)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    result, _ = build(path, tmp_path / "set")
    assert result["failed"]
    assert all(names(why, "'image'", "thumbnail") for why in result["failed"].values())


def test_half_covered_tiles_are_kept_with_their_gap_or_set_aside(server, scenes, tmp_path):
    name, _, scene, transform, _ = scenes[0]
    half = rgbn(scene.optical)
    half[:, :, : SIDE_PX // 2] = 0  # the flight ends here; the file does not say so
    add_item(server, name, half, transform)
    write_files(tmp_path, scenes[:1])
    path = settings(tmp_path, server)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    result, _ = build(path, tmp_path / "set")
    planned = gpd.read_parquet(tmp_path / "set" / "planned.parquet")
    assert set(planned["state"]) == {"done", "set aside"}
    assert (planned.loc[planned["state"] == "set aside", "valid_share"] < 0.5).all()
    index = tileset.read_index(tmp_path / "set")
    assert (index["valid_px"] < 128 * 128).any()
    for _, row in index.iterrows():
        _, valid, mask = tileset.read_tile(tmp_path / "set", row)
        assert (mask[0][~valid] == 255).all()
    assert re.search(r"\b[0-4]?\d% ", next(iter(result["set_aside"].values())))  # the share with imagery


def test_the_newest_image_that_shows_the_whole_tile_is_taken(server, scenes, tmp_path):
    name, _, scene, transform, _ = scenes[0]
    add_item(server, name, rgbn(scene.optical), transform)
    add_item(server, "newer", rgbn(scene.optical)[:, :, :20], transform, when="2025-06-01T10:00:00Z")
    add_item(server, "coarse", rgbn(scene.optical), transform, when="2026-06-01T10:00:00Z", gsd=4.0)
    write_files(tmp_path, scenes[:1])
    path = settings(tmp_path, server)
    path.write_text(path.read_text().replace(", B: val, C: test", ""))
    build(path, tmp_path / "set")
    index = tileset.read_index(tmp_path / "set")
    assert name in set(index["image"])
    assert "coarse" not in " ".join(index["image"])


def test_a_catalogue_out_of_reach_ends_the_build(server, scenes, tmp_path):
    write_files(tmp_path, scenes)
    with pytest.raises(CatalogError, match=naming(10, server.url, "'naip'")):
        build(settings(tmp_path, server), tmp_path / "set")
    path = settings(tmp_path, server)
    path.write_text(path.read_text().replace("footprints:", "#"))
    with pytest.raises(ConfigError, match=naming("national.yaml", "'footprints'")):
        build(path, tmp_path / "set")
    assert training_set.plan(path, say=lambda _: None)["tiles_at_most"]


@pytest.mark.realdata
def test_ashburn_through_a_catalogue(server, scenes, realdata, tmp_path):
    """NAIP over Ashburn with the IM3 registry, another county simulated beside it."""
    with rasterio.open(realdata / "ashburn" / "naip_rgb_2m.tif") as file:
        pixels, transform, crs, bounds = file.read(), file.transform, file.crs, file.bounds
    optical = np.where(pixels[3] > 0, np.maximum(pixels[:3], 1), 0).astype(np.uint8)
    add_item(server, "ashburn", np.concatenate([optical, optical[1:2]]), transform, str(crs))
    write_files(tmp_path, scenes[:2])
    serve(server, scenes[:2])
    counties = gpd.read_file(tmp_path / "counties.geojson")
    place = gpd.GeoSeries([box(*bounds)], crs=crs).to_crs("OGC:CRS84")
    loudoun = gpd.GeoDataFrame({"GEOID": ["51107"]}, geometry=place.to_list(), crs="OGC:CRS84")
    gpd.pd.concat([counties, loudoun]).to_file(tmp_path / "counties.geojson")
    labels = gpd.read_file(realdata / "ashburn" / "labels.geojson").to_crs("OGC:CRS84")
    labels[["geometry"]].to_file(tmp_path / "ashburn_roofs.geojson")
    path = settings(tmp_path, server)
    im3 = f"{{path: {realdata / 'facilities' / 'im3_footprints.geojson'}, format: im3}}"
    text = path.read_text().replace("registry: [", f"registry: [{im3}, ").replace("B: val, C: test", "'51107': test")
    path.write_text(text.replace("footprints: [", "footprints: [{path: ashburn_roofs.geojson, source: osm}, "))
    result, _ = build(path, tmp_path / "set")
    assert result["failed"] == {}
    index = tileset.read_index(tmp_path / "set")
    ashburn = index[index["image"] == "ashburn"]
    assert set(ashburn["split"]) == {"test"}
    assert set(index["split"]) == {"train", "test"}
    assert len(ashburn) >= 5
    assert ashburn["data_center_px"].sum() * 4 > 50_000  # square metres
    assert tileset.check([tmp_path / "set"]) == []

"""Scenes of a catalogue, read over loopback: only what was seen in all bands counts, whatever items state."""

import logging
import socket

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping

from overwatt.aoi.area import from_bbox
from overwatt.aoi.errors import AssetReadError, CatalogError, ModelContractError
from overwatt.models.detector.card import load_card
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.io.scenes import mask_beside, mosaic, places_of, scene_of
from overwatt.workflows.io.stac_source import open_stac
from tests.stac_server import serving
from tests.support import naming

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
]

SIDE_PX, GSD_M = 96, 2.0
WEST_M, NORTH_M = 400_000.0, 4_000_000.0
RGB = ("red", "green", "blue")
RNG = np.random.default_rng(5)
PHOTO = RNG.integers(20, 220, (3, SIDE_PX, SIDE_PX), dtype=np.uint8)


@pytest.fixture(scope="module")
def card(weights):
    return load_card(weights)


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as running:
        running.page = 20
        yield running


def grid(gsd_m=GSD_M, side=SIDE_PX, x0=0):
    return GeoBox((side, side), Affine(gsd_m, 0, WEST_M + x0 * gsd_m, 0, -gsd_m, NORTH_M), "EPSG:32618")


def ground(geobox):
    return box(*Transformer.from_crs(32618, "OGC:CRS84", always_xy=True).transform_bounds(*geobox.boundingbox))


def area():
    west, south, east, north = ground(grid()).bounds
    return from_bbox(west + 2e-5, south + 2e-5, east - 2e-5, north - 2e-5, "test area")


def write(path, pixels, geobox, **options):
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype=pixels.dtype, crs=str(geobox.crs), transform=geobox.affine, **options,
    ) as file:  # fmt: skip
        file.write(pixels)


def add(server, name, pixels=PHOTO, day=1, geobox=None, form="eo:bands", omit=(), gsd=None, fields=None, **options):
    """Write a scene and list it; `form` says how its bands are stated: eo:bands, bands, files or visual."""
    geobox = geobox or grid()
    shown = ground(geobox)
    assets = {}
    if form == "files":
        for n, band in enumerate(RGB):
            write(server.folder / f"{name}-{band}.tif", pixels[n : n + 1], geobox, **options)
            if band not in omit:
                assets[band] = {"href": f"{server.url}/{name}-{band}.tif"}
    else:
        write(server.folder / f"{name}.tif", pixels, geobox, photometric="RGB", **options)
        asset = {"href": f"{server.url}/{name}.tif", "type": "image/tiff; application=geotiff"}
        if form == "eo:bands":
            asset["eo:bands"] = [{"name": b.title(), "common_name": b} for b in RGB]
        elif form == "bands":
            asset["bands"] = [{"name": f"B{n}", "eo:common_name": b} for n, b in enumerate(RGB)]
        assets["visual" if form == "visual" else "image"] = asset | (fields or {})
    server.items.append(
        {
            "type": "Feature", "stac_version": "1.1.0" if form == "bands" else "1.0.0", "stac_extensions": [],
            "id": name, "collection": "images", "geometry": mapping(shown), "bbox": list(shown.bounds), "links": [],
            "properties": {"datetime": f"2023-06-{day:02d}T10:00:00Z"} | ({} if gsd is None else {"gsd": gsd}),
            "assets": assets,
        }
    )  # fmt: skip


def opened(server, card, assets=RGB):
    return open_stac(StacSettings(url=server.url, collection="images", assets=assets), area(), card)


def shown(source):
    """All of a source: pixels uint8 and validity."""
    values, valid = source.read(0, 0, *source.shape)
    return np.rint(values * 255).astype(np.uint8), valid


def at_source(server, name, box=None):
    """The scene of an item on its own lattice."""
    item = next(pystac.Item.from_dict(i) for i in server.items if i["id"] == name)
    return scene_of(item, places_of(item, RGB, RGB), box or grid(), "none")


@pytest.mark.parametrize("form", ["eo:bands", "bands", "files", "visual"])
def test_the_right_pixels_however_an_item_states_its_bands(server, card, form):
    add(server, "i", form=form)
    source = opened(server, card, ("visual",) if form == "visual" else RGB)
    pixels, valid = shown(source)
    assert 0.9 < valid.mean() <= 1
    item = pystac.Item.from_dict(server.items[0])
    scene = scene_of(item, places_of(item, RGB, ("visual", *RGB)), grid(), "none")
    got, seen = mosaic([scene], (3, 5, 40, 60), GSD_M, 3)
    np.testing.assert_array_equal(got, PHOTO[:, 3:40, 5:60])
    assert seen.all()
    assert pixels[:, valid].min() > 0


def test_bands_in_another_order_and_windows_beyond_the_grid(server):
    add(server, "i", form="bands")
    item = pystac.Item.from_dict(server.items[0])
    scene = scene_of(item, places_of(item, RGB[::-1], RGB), grid(), "none")
    pixels, valid = mosaic([scene], (-4, -4, 10, 10), GSD_M, 3)
    np.testing.assert_array_equal(pixels[:, 4:, 4:], PHOTO[::-1, :10, :10])
    assert not valid[:4].any()
    assert not pixels[:, :, :4].any()


def test_reflectance_is_refused_whatever_the_item_states(server, card):
    for form in ("eo:bands", "files"):
        server.items.clear()
        add(server, f"s2-{form[:2]}", PHOTO.astype(np.uint16) * 14, form=form, nodata=0)
        with pytest.raises(ModelContractError, match=naming("uint16", "8-bit")):
            opened(server, card)


def test_a_stated_ground_size_does_not_count_but_the_files_own_does(server, card):
    add(server, "coarse", geobox=grid(10.0), gsd=1)
    with pytest.raises(ModelContractError, match=naming("coarse", "10.0028")):
        opened(server, card)


def test_an_item_without_a_band_gives_way_to_an_older_one(server, card):
    add(server, "old", form="files", day=1)
    add(server, "new", form="files", day=9, omit=("blue",))
    source = opened(server, card)
    assert [i["id"] for i in source.items] == ["old"]
    assert "blue" in source.left_out[0]
    assert "new" in source.left_out[0]
    server.items.pop(0)
    with pytest.raises(CatalogError, match=naming("new", "blue")):
        opened(server, card)


def test_an_item_of_another_type_is_left_out_and_named(server, card):
    add(server, "good", geobox=grid(x0=0), day=1)
    add(server, "reflectance", PHOTO.astype(np.uint16), day=5, geobox=grid(x0=30))
    source = opened(server, card)
    assert [i["id"] for i in source.items] == ["good"]
    assert "uint16" in source.left_out[0]


def test_bands_of_two_dates_are_never_mixed(server):
    holed = PHOTO.copy()
    holed[0, 20:60, 20:60] = 0  # a block of one band was not written
    add(server, "new", holed, day=9, form="files", nodata=0)
    add(server, "old", np.full_like(PHOTO, 99), day=1, form="files", nodata=0)
    pixels, valid = mosaic([at_source(server, "new"), at_source(server, "old")], (0, 0, 96, 96), GSD_M, 3)
    assert valid.all()
    assert (pixels[:, 20:60, 20:60] == 99).all()
    np.testing.assert_array_equal(pixels[:, :20], PHOTO[:, :20])


def test_a_gap_between_two_images_stays_a_gap(server):
    add(server, "west", PHOTO[:, :, :40], geobox=GeoBox((96, 40), grid().affine, "EPSG:32618"))
    add(server, "east", PHOTO[:, :, 40:80], geobox=GeoBox((96, 40), grid(x0=56).affine, "EPSG:32618"), day=2)
    scenes = [at_source(server, n) for n in ("east", "west")]
    pixels, valid = mosaic(scenes, (0, 0, 96, 96), GSD_M, 3)
    assert valid[:, :40].all()
    assert valid[:, 56:].all()
    assert not valid[:, 40:56].any()
    assert not pixels[:, :, 40:56].any()


@pytest.mark.parametrize("how", ["nodata", "stated nodata", "stated in bands", "mask", "black"])
def test_what_an_image_masks_was_not_seen(server, how):
    half = np.zeros((SIDE_PX, SIDE_PX), bool)
    half[:, :48] = True
    empty = PHOTO.copy()
    empty[:, half] = 0 if how == "black" else 255 if "stated" in how else 7
    fields = {"stated nodata": {"nodata": 255}, "stated in bands": {"raster:bands": [{"nodata": 255}] * 3}}.get(how, {})
    add(server, "i", empty, fields=fields, **({"nodata": 7} if how == "nodata" else {}))
    if how == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(server.folder / "i.tif", "r+") as file:
            file.write_mask(~half)
    _, valid = mosaic([at_source(server, "i")], (0, 0, 96, 96), GSD_M, 3)
    np.testing.assert_array_equal(valid, ~half)


def test_an_image_that_cannot_be_read_is_named_without_its_signature(server, card, caplog):
    add(server, "good")
    add(server, "gone", day=2, geobox=grid(x0=30))
    server.items[1]["assets"]["image"]["href"] = f"{server.url}/gone/away.tif?sig=SECRET"
    with caplog.at_level(logging.DEBUG):
        source = opened(server, card)  # its tiles are tried again, and fail by name
        assert {i["id"] for i in source.items} == {"good", "gone"}
        with pytest.raises(AssetReadError) as info:
            source.read(0, 0, *source.shape)
    assert info.value.href == f"{server.url}/gone/away.tif?[redacted]"
    assert "gone/away.tif" in str(info.value)
    assert "'gone'" in str(info.value)
    assert "SECRET" not in str(info.value) + caplog.text


def test_a_damaged_image_is_named(server):
    for name in ("bad", "half"):  # two files: GDAL remembers what it read of an address
        add(server, name, RNG.integers(1, 255, (3, 300, 300), dtype=np.uint8), geobox=grid(side=300))
    (server.folder / "bad.tif").write_bytes(b"not a tiff" * 50)
    whole = (server.folder / "half.tif").read_bytes()
    (server.folder / "half.tif").write_bytes(whole[: len(whole) // 2])
    for name in ("bad", "half"):
        with pytest.raises(AssetReadError, match=naming(f"{name}.tif")):
            mosaic([at_source(server, name, grid(side=300))], (0, 0, 300, 300), GSD_M, 3)


def test_an_image_with_a_mask_beside_it_is_left_out(server, card):
    """GDAL does not read it over the network, and what it hides would count as seen."""
    add(server, "masked", day=9)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(server.folder / "masked.tif", "r+") as file:
        file.write_mask(np.arange(SIDE_PX * SIDE_PX).reshape(SIDE_PX, SIDE_PX) % SIDE_PX > 40)
    with pytest.raises(CatalogError, match=naming("'masked'", ".msk", "imagery.path")):
        opened(server, card)
    add(server, "plain", day=1)
    source = opened(server, card)
    assert [i["id"] for i in source.items] == ["plain"]
    assert "masked" in source.left_out[0]
    (server.folder / "masked.tif.msk").write_text("<html>a page for everything</html>")
    assert [i["id"] for i in opened(server, card).items] == ["masked"]


def test_a_server_that_does_not_say_whether_a_mask_is_there_is_not_taken_for_a_no(server):
    assert not mask_beside(f"{server.url}/nothing.tif?sig=SECRET", "none")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/x.tif?sig=SECRET"
    with pytest.raises(AssetReadError, match=naming("x.tif.msk")) as info:
        mask_beside(closed, "none")
    assert "SECRET" not in str(info.value)


@pytest.mark.parametrize("href", ["/etc/passwd", "s3://bucket/i.tif", "file:///i.tif", "/vsicurl/http://x/i.tif"])
def test_only_http_addresses_are_followed(server, card, href):
    add(server, "i")
    server.items[0]["assets"]["image"]["href"] = href
    with pytest.raises(CatalogError, match=naming("http(s)")):
        opened(server, card)


def test_a_vrt_is_never_opened(server, card):
    """A VRT refers to other files and hosts: GDAL must not take it for an image."""
    add(server, "i")
    inner = server.folder / "i.tif"
    (server.folder / "v.vrt").write_text(
        f"<VRTDataset rasterXSize='9' rasterYSize='9'><SRS>EPSG:32618</SRS>{inner}</VRTDataset>"
    )
    server.items[0]["assets"]["image"]["href"] = f"{server.url}/v.vrt"
    source = opened(server, card)
    with pytest.raises(AssetReadError, match=naming("v.vrt")):
        source.read(0, 0, 20, 20)

"""Catalogues of docs/howto/inputs.md, over loopback: what items state, and the ground that counts."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT
from shapely.geometry import mapping

from overwatt.aoi.errors import AssetReadError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from tests.inputs_page import each, holds, same_rows
from tests.integration.test_scenes import GSD_M, NORTH_M, RGB, SIDE_PX, WEST_M, grid, ground, opened, write
from tests.integration.test_scenes import add as listed
from tests.stac_server import serving

SECTION = "Catalogues (STAC)"
CARD = load_card(DEFAULT_WEIGHTS)
RAMP = np.linspace(30, 220, SIDE_PX)
PHOTO = np.stack(np.broadcast_arrays(RAMP[None], RAMP[:, None], 90.0)).round().astype(np.uint8)  # every place differs
HALF = np.zeros(PHOTO.shape[1:], bool)
HALF[:, :48] = True
HALVES = {name: GeoBox((96, 48), grid(x0=x0).affine, "EPSG:32618") for name, x0 in (("west", 0), ("east", 48))}


def seen(server, share=1.0, assets=RGB):
    """Search and read all of the area: `share` of it counts."""
    source = opened(server, CARD, assets)
    try:
        values, valid = source.read(0, 0, *source.shape)
    except AssetReadError as error:
        return "read in part", str(error)  # a run goes on with its other tiles
    inner = (slice(3, -3), slice(3, -3))  # the area is smaller than the images by 2 m
    assert valid[inner].mean() == pytest.approx(share, abs=0.04)
    row, col = np.nonzero(valid)
    x, y = source.geobox.affine @ (col + 0.5, row + 0.5)
    at = np.stack([(x - WEST_M) / GSD_M - 0.5, (NORTH_M - y) / GSD_M - 0.5])  # column, row of the photo
    assert np.abs(values[:2, row, col] * 255 - np.interp(at, np.arange(SIDE_PX), RAMP)).max() < 4
    return ("read" if share == 1 and not source.left_out else "read in part"), " ".join(source.left_out)


def add(server, name, pixels=PHOTO, **more):
    listed(server, name, pixels, **more)


def any_search(server):
    """Let the server find all items, whatever they state of time and place."""
    server.matching = lambda query: server.items


def forms(server):
    for form in ("eo:bands", "bands"):
        server.items.clear()
        add(server, form[:2], form=form)
        found = seen(server)
    return found


def one_file_per_band(server):
    add(server, "i", form="files")
    return seen(server)


def visual(server):
    add(server, "i", form="visual")
    return seen(server, assets=("visual",))


def without_blue(server):
    add(server, "old", form="files", day=1)
    add(server, "new", form="files", day=9, omit=("blue",))
    return seen(server)


def another_type(server):
    add(server, "good", day=1)
    add(server, "reflectance", PHOTO.astype(np.uint16), day=5, geobox=grid(x0=30))
    return seen(server)


def reflectance(server):
    add(server, "s2", PHOTO.astype(np.uint16) * 14)
    return seen(server)


def coarse(server):
    add(server, "coarse", geobox=grid(10.0), gsd=1)
    return seen(server)


def gsd_text(server):
    for gsd in ("2 m", None):
        server.items.clear()
        add(server, "i", gsd=gsd)
        found = seen(server)
    return found


def masked(server):
    for how in ("nodata of the file", "nodata of the item", "mask", "black"):
        server.items.clear()
        value = {"nodata of the file": 7, "nodata of the item": 255}.get(how, 0)
        fields = {"raster:bands": [{"nodata": 255}] * 3} if how == "nodata of the item" else {}
        options = {"nodata": 7} if how == "nodata of the file" else {}
        pixels = PHOTO if how == "mask" else np.where(HALF, np.uint8(value), PHOTO)
        name = how.replace(" ", "-")
        add(server, name, pixels, fields=fields, **options)
        if how == "mask":
            path = server.folder / f"{name}.tif"
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
                file.write_mask(~HALF)
        found = seen(server, 0.5)
    return found


def mask_file(server):
    add(server, "i")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(server.folder / "i.tif", "r+") as file:
        file.write_mask(~HALF)
    assert (server.folder / "i.tif.msk").exists()
    return seen(server)


def one_band_void(server):
    add(server, "i", form="files")
    write(server.folder / "i-blue.tif", np.where(HALF, np.uint8(0), PHOTO[2:]), grid())
    return seen(server, 0.5)


def older_beneath(server):
    add(server, "new", np.where(HALF, np.uint8(0), PHOTO), day=9)
    add(server, "old", day=1)
    return seen(server, 0.5)


def gap(server):
    add(server, "west", PHOTO[:, :, :48], geobox=HALVES["west"])
    add(server, "east", PHOTO[:, :, 72:], geobox=GeoBox((96, 24), grid(x0=72).affine, "EPSG:32618"))
    return seen(server, 0.75)


def wide_footprint(server):
    add(server, "i", PHOTO[:, :, :48], geobox=HALVES["west"])
    server.items[0]["geometry"] = mapping(ground(grid()))
    return seen(server, 0.5)


def two_zones(server):
    add(server, "west", PHOTO[:, :, :48], geobox=HALVES["west"])
    add(server, "east", PHOTO[:, :, 48:], geobox=HALVES["east"])
    file = server.folder / "east.tif"
    with rasterio.open(file) as source, WarpedVRT(source, crs="EPSG:32617", add_alpha=True) as warped:
        pixels, box = warped.read(), GeoBox(warped.shape, warped.transform, "EPSG:32617")
    write(file, pixels, box, photometric="RGB", alpha="yes")
    return seen(server)


def odd_footprints(server):
    add(server, "i", day=1)
    shape = server.items[0]["geometry"]
    server.items[0]["geometry"] = {"type": "GeometryCollection", "geometries": [shape]}
    any_search(server)
    found = seen(server)
    server.items[0]["geometry"] = None
    assert found == seen(server)
    turned = [[[x + 360, y] for x, y in ring] for ring in shape["coordinates"]]
    west, south, east, north = server.items[0]["bbox"]
    server.items[0] |= {"geometry": {**shape, "coordinates": turned}, "bbox": [west + 360, south, east + 360, north]}
    assert found == seen(server)
    return found


def an_interval(server):
    add(server, "i")
    server.items[0]["properties"] = {
        "datetime": None, "start_datetime": "2023-06-01T00:00:00Z", "end_datetime": "2023-08-01T00:00:00Z"
    }  # fmt: skip
    any_search(server)
    return seen(server)


def nothing(server):
    return seen(server)


def circle(server):
    add(server, "i")
    server.circle = True
    return seen(server)


def fewer_than_counted(server):
    add(server, "i")
    server.counted = 2
    return seen(server)


def gone(server):
    add(server, "gone")
    server.items[0]["assets"]["image"]["href"] = f"{server.url}/gone/away.tif?sig=SECRET"
    outcome, said = seen(server)
    assert "SECRET" not in said
    return outcome, said


def broken(server):
    add(server, "broken")
    (server.folder / "broken.tif").write_bytes(b"not a tiff" * 50)
    return seen(server)


def not_http(server):
    add(server, "i")
    server.items[0]["assets"]["image"]["href"] = "s3://bucket/i.tif"
    return seen(server)


def no_such_band(server):
    add(server, "i", form="files", omit=("blue",))
    return seen(server)


CHECKS = {
    "bands stated as eo:bands (STAC 1.0) or bands (STAC 1.1), one file for each band, asset `visual`": (
        forms, one_file_per_band, visual
    ),
    "newest item lacks a band or has 16-bit pixels, another one fits": (without_blue, another_type),
    "no item has the band": (no_such_band,),
    "only items of 16-bit or float pixels (reflectance)": (reflectance,),
    "item that states gsd 1, with pixels of 10 m": (coarse,),
    "gsd as text or missing, datetime null with an interval, items in different UTM zones": (
        gsd_text, an_interval, two_zones
    ),
    "footprint null, a GeometryCollection, or in longitudes of 0 to 360": (odd_footprints,),
    "nodata stated by the file or by the item, internal mask, black fill, one band that is 0": (masked, one_band_void),
    ".msk file beside a file of the catalogue": (mask_file,),
    "newest item has a void inside its footprint, an older one shows the ground": (older_beneath,),
    "gap between two items, footprint larger than the image": (gap, wide_footprint),
    "nothing found": (nothing,),
    "next page that leads to itself, fewer items than the catalogue counts": (circle, fewer_than_counted),
    "file that is not there (404) or damaged": (gone, broken),
    "addresses other than http(s)": (not_http,),
}  # fmt: skip


def test_the_page_and_the_checks_have_the_same_rows():
    same_rows(SECTION, CHECKS)


@pytest.mark.parametrize("given", CHECKS)
def test_a_catalogue_fares_as_the_page_says(given, tmp_path):
    def served(check):
        def on_server(folder):
            with serving(folder) as server:
                server.page = 20
                return check(server)

        return on_server

    holds(SECTION, given, each(*map(served, CHECKS[given])), tmp_path)

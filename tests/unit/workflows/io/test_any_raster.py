"""A law: whatever a raster file holds, it is read, or refused in one line. No other exception reaches the user."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from overwatt.aoi.errors import AssetReadError, OverwattError
from overwatt.models.detector.card import load_card
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.raster_checks import content_sha256, quiet
from tests.support import RGB, write_image

UTM = Affine(2, 0, 500_000, 0, -2, 4_984_000)
DEGREES = Affine(2e-5, 0, -27, 0, -1.8e-5, 45)
ENGINEERING = 'LOCAL_CS["site grid",UNIT["metre",1]]'
MARS = (
    'GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190,169.89]],'
    'PRIMEM["Reference",0],UNIT["degree",0.0174532925199433]]'
)
CODES = (32626, 4326, 3857, 4979, 4978, 3413, 2283, 27572, 2193)
SYSTEMS = [None, ENGINEERING, MARS, "EPSG:32626+5773", *(f"EPSG:{code}" for code in CODES)]
NUMBER = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 1e-5, -1e-5, 1e9, 180.0, 360.0, 500_000.0, 4_984_000.0]),
    st.floats(-1e7, 1e7, allow_nan=False),
)
TRANSFORMS = st.one_of(
    st.none(),
    st.sampled_from([UTM, DEGREES, UTM @ Affine.rotation(30), UTM @ Affine.scale(1, -1), UTM @ Affine.shear(20, 3)]),
    st.builds(lambda lon, lat: Affine(2e-5, 0, lon, 0, -2e-5, lat), st.floats(-400, 400), st.floats(-95, 95)),
    st.builds(Affine, *[NUMBER] * 6),
)


@pytest.fixture(scope="module")
def card(weights):
    return load_card(weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@st.composite
def rasters(draw):
    """(pixels, profile, mask, control points, tagged alpha) of a small file."""
    dtype = draw(st.sampled_from(["uint8", "uint8", "uint8", "uint16", "int16", "float32"]))
    count, (ny, nx) = draw(st.integers(1, 5)), draw(st.sampled_from([(1, 1), (1, 40), (17, 5), (60, 80)]))
    values = (np.arange(count * ny * nx).reshape(count, ny, nx) % 251).astype(dtype)
    if draw(st.booleans()):
        values[:, : ny // 2] = draw(st.sampled_from([0, 255]))
    if dtype == "float32" and draw(st.booleans()):
        values[:, 0] = np.nan
    named = draw(st.sampled_from([(), (*RGB, "nir", "alpha")[:count]]))
    profile = {"crs": draw(st.sampled_from(SYSTEMS)), "transform": draw(TRANSFORMS), "names": named, "block": 16}
    profile["nodata"] = draw(st.sampled_from([None, 0, 255, 7]))
    if count >= 3 and dtype == "uint8" and draw(st.booleans()):
        profile["photometric"] = "RGB"
    mask = draw(st.sampled_from([None, "internal", "beside"]))
    return values, profile, mask, draw(st.integers(0, 4)) if profile["transform"] is None else 0


@settings(max_examples=150, deadline=None)
@given(made=rasters(), data=st.data())
def test_it_is_read_or_refused_in_one_line(made, data, card, folder):
    values, profile, mask, points = made
    for old in folder.iterdir():
        old.unlink()
    path = write_image(folder / "a.tif", values, **profile)
    ny, nx = values.shape[1:]
    with quiet(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=mask == "internal"), rasterio.open(path, "r+") as file:
        if mask:
            file.write_mask(np.arange(ny * nx).reshape(ny, nx) % 3 > 0)
        if points:
            corners = [(0, 0), (0, nx), (ny, 0), (ny, nx)][:points]
            file.gcps = (
                [GroundControlPoint(row=r, col=c, x=500_000 + 2 * c, y=4_984_000 - 2 * r) for r, c in corners],
                data.draw(st.sampled_from([CRS.from_epsg(32626), CRS()])),
            )
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.sampled_from([0, 0, 1, 3]))):
        raw[data.draw(st.integers(4, min(len(raw), 600) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.sampled_from([1.0, 1.0, 0.5]))
    path.write_bytes(bytes(raw[: int(len(raw) * kept)]))
    content_sha256(path)
    try:
        image = open_image(path, card, gsd_m=data.draw(st.sampled_from([None, 2.0])), require_crs=False)
        ny, nx = image.shape
        read, valid = image.read(-3, -3, min(ny, 200) + 3, min(nx, 200) + 3)
    except OverwattError as error:
        refused = str(error)
    else:
        refused = ""
        assert read.dtype == np.float32
        assert np.isfinite(read).all()
        assert not read[:, ~valid].any()
        assert not valid[:3].any()
    assert "\n" not in refused


@pytest.mark.parametrize("tag", [324, 325])  # offsets and byte counts of the tiles
def test_a_tag_that_gdal_complains_about_only_later_is_refused(tag, card, folder):
    path = write_image(folder / "tag.tif", np.zeros((3, 1, 1), np.uint8), crs=None, transform=None, names=(), block=16)
    raw = bytearray(path.read_bytes())
    first = int.from_bytes(raw[4:8], "little")
    entries = range(first + 2, first + 2 + 12 * int.from_bytes(raw[first : first + 2], "little"), 12)
    (entry,) = (e for e in entries if int.from_bytes(raw[e : e + 2], "little") == tag)
    raw[entry + 2] = 0  # no type of TIFF
    path.write_bytes(bytes(raw))
    with pytest.raises(AssetReadError, match=path.name):
        open_image(path, card, gsd_m=2.0, require_crs=False)

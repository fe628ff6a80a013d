"""A received file is what its first bytes say, or it is refused."""

import pytest

from overwatt.aoi.area import from_file
from overwatt.aoi.errors import AssetReadError, GridError, RegistryError
from overwatt.aoi.file_signatures import is_plain_vector, raster_driver
from overwatt.workflows.io import registries
from overwatt.workflows.io.temperature_stack import load_stack
from overwatt.workflows.io.vectors import read_vector

OGR_VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>'
    "</OGRVRTDataSource>"
)
GDAL_VRT = (
    '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand><SourceFilename>/vsicurl/http://h</SourceFilename>'
    "</VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b'{"type": "FeatureCollection"}', True),
        (b"\xef\xbb\xbf  [1]", True),
        (b"SQLite format 3\0...", True),
        (b"PAR1", True),
        (b'<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2">', True),
        (OGR_VRT.encode(), False),
        (b"<!-- <kml --> " + OGR_VRT.encode(), False),
        (b"hello", False),
        (b"", False),
    ],
)
def test_vector_formats(tmp_path, content, plain):
    file = tmp_path / "f"
    file.write_bytes(content)
    assert is_plain_vector(file) is plain


def test_virtual_files_are_refused_wherever_files_are_read(tmp_path):
    for name, read, error in (
        ("a.kml", from_file, GridError),
        ("b.gpkg", registries.read, RegistryError),
        ("c.geojson", read_vector, RegistryError),
    ):
        (tmp_path / name).write_text(OGR_VRT)
        with pytest.raises(error, match="first bytes"):
            read(tmp_path / name)
    (tmp_path / "d.tif").write_text(GDAL_VRT)
    assert raster_driver(tmp_path / "d.tif") is None
    with pytest.raises(AssetReadError, match="first bytes"):
        load_stack([tmp_path / "d.tif"], unit="kelvin")

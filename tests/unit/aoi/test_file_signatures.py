"""A received file is what its first bytes say, or it is refused."""

import geopandas as gpd
import pyogrio
import pytest
import rasterio
from shapely.geometry import box

from overwatt.aoi.area import from_file
from overwatt.aoi.errors import AssetReadError, GridError, RegistryError
from overwatt.aoi.file_signatures import is_plain_vector, raster_driver
from overwatt.workflows.io import registries
from overwatt.workflows.io.temperature_stack import load_stack
from overwatt.workflows.io.vectors import read_vector
from tests.support import naming

OGR_VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="{layer}"><SrcDataSource>{file}</SrcDataSource></OGRVRTLayer>'
    "</OGRVRTDataSource>"
)
GDAL_VRT = (
    '<VRTDataset rasterXSize="90" rasterYSize="70"><SRS>EPSG:32626</SRS>'
    "<GeoTransform>500000, 2, 0, 4984000, 0, -2</GeoTransform>"
    '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{file}</SourceFilename></SimpleSource>'
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


def test_virtual_files_are_refused_wherever_files_are_read(tmp_path, small_image):
    """They point at files that exist and that GDAL reads: only the refusal keeps them out."""
    gpd.GeoDataFrame({"id": ["a"]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "real.geojson")
    for name, read, error in (
        ("a.kml", from_file, GridError),
        ("b.gpkg", registries.read, RegistryError),
        ("c.geojson", read_vector, RegistryError),
    ):
        (tmp_path / name).write_text(OGR_VRT.format(layer="real", file=tmp_path / "real.geojson"))
        assert len(pyogrio.read_dataframe(tmp_path / name)) == 1
        with pytest.raises(error, match=naming(name)):
            read(tmp_path / name)
    (tmp_path / "d.tif").write_text(GDAL_VRT.format(file=small_image))
    with rasterio.open(tmp_path / "d.tif") as virtual:
        assert virtual.read().any()
    assert raster_driver(tmp_path / "d.tif") is None
    with pytest.raises(AssetReadError, match=naming("d.tif")):
        load_stack([tmp_path / "d.tif"], unit="kelvin")

"""An index and its tiles: read back as written, refused where they are not what they say."""

import warnings

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning

from overwatt.aoi.errors import AssetReadError, ConfigError, RegistryError
from overwatt.models.training import tileset
from tests.support import naming

SIDE = 64


def write(path, layers, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(layers), "height": layers.shape[1], "width": layers.shape[2], "dtype": layers.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape) as out:
            out.write(layers)
            out.descriptions = names


def make(folder, n=3, **columns):
    """A folder of tiles, one in each split, 0.1 degrees apart; returns the index's rows."""
    rows = []
    for i in range(n):
        rng = np.random.default_rng(i)
        picture = np.concatenate(
            [rng.integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8), np.full((1, SIDE, SIDE), 255, np.uint8)]
        )
        picture[:, :4] = 0
        mask = np.zeros((3, SIDE, SIDE), np.uint16)
        mask[0, 10:30, 10:30], mask[2, 10:30, 10:30] = 2, 300
        mask[0, 40:50, 10:30], mask[1, 40:44, 40:44] = 254, 1
        write(folder / f"pictures/{i}.tif", picture, tileset.PICTURE_BANDS)
        write(folder / f"masks/{i}.tif", mask, tileset.MASK_BANDS)
        split = ("train", "val", "test")[i % 3]
        rows.append(
            {
                "tile_id": str(i), "path": f"pictures/{i}.tif", "mask_path": f"masks/{i}.tif", "split": split,
                "place": f"p{i}", "sites": f"s{i}", "image": "a.tif", "image_sha256": "x", "crs": "", "gsd_m": 0.6,
                "pixels_sha256": tileset.pixels_sha256(picture[:3], picture[3] > 0), "row_px": 0, "col_px": 0,
                **dict.fromkeys(tileset.COUNTS, 0), "guard_m": 40.0, "weight": 1.0, "licence": "CC0",
                "attribution": "", "label_source": "made", "rank": n - i,
                "geometry": shapely.box(i / 10, 50, i / 10 + 0.01, 50.01), **columns,
            }
        )  # fmt: skip
    return rows


def save(folder, rows):
    tileset.conform(rows).to_parquet(folder / tileset.INDEX_NAME, write_covering_bbox=True, schema_version="1.1.0")
    return folder / tileset.INDEX_NAME


def test_tiles_come_back_as_pictures(tmp_path):
    rows = make(tmp_path)
    index = save(tmp_path, rows)
    (picture,) = tileset.pictures_of(index, "train", weight=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        layers = rasterio.open(tmp_path / "pictures/0.tif").read()
    assert (picture.optical == layers[:3]).all()
    assert (picture.valid == (layers[3] > 0)).all()
    assert picture.optical.dtype == picture.building.dtype == picture.cooling.dtype == np.uint8
    assert set(np.unique(picture.building)) == {0, 2, 254}
    assert picture.cooling.sum() == 16
    assert set(np.unique(picture.instance)) == {0, 300}
    assert picture.gsd_m == 0.6
    assert picture.weight == 0.5
    assert tileset.pictures_of(tmp_path, "train")[0].name == picture.name


def test_pictures_come_in_order_of_use_and_share_the_weight(tmp_path):
    rows = make(tmp_path, 4, split="train")
    rows[0]["weight"] = 3.0
    index = save(tmp_path, rows)
    pictures = tileset.pictures_of(index, "train", weight=0.6)
    assert [p.name.split()[-1] for p in pictures] == ["3", "2", "1", "0"]
    assert [p.weight for p in pictures] == pytest.approx([0.1, 0.1, 0.1, 0.3])
    assert [p.name.split()[-1] for p in tileset.pictures_of(index, "train", limit=2)] == ["3", "2"]


def test_a_split_that_is_not_there_and_too_many_tiles_are_refused(tmp_path):
    index = save(tmp_path, make(tmp_path, 1))
    with pytest.raises(ConfigError, match=naming("'trian'", "'train'")):
        tileset.pictures_of(index, "trian")
    with pytest.raises(ConfigError, match=naming("index.parquet", "'test'", "1 train")):
        tileset.pictures_of(index, "test")
    with pytest.raises(ConfigError, match=naming("index.parquet", "limit", "GB")):
        tileset.pictures_of(index, "train", max_bytes=1000)


@pytest.mark.parametrize("path", ["../outside.tif", "/etc/passwd", "pictures/../../outside.tif"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    folder = tmp_path / "tiles"
    index = save(folder, make(folder, 1, path=path))
    with pytest.raises(RegistryError, match=naming(f"'{path}'", "folder")):
        tileset.pictures_of(index, "train")


def test_a_tile_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    folder = tmp_path / "tiles"
    index = save(folder, make(folder, 1))
    (folder / "pictures/0.tif").rename(tmp_path / "0.tif")
    (folder / "pictures/0.tif").symlink_to(tmp_path / "0.tif")
    with pytest.raises(RegistryError, match=naming("'pictures/0.tif'", "folder")):
        tileset.pictures_of(index, "train")


def test_damaged_and_missing_tiles_are_named(tmp_path):
    index = save(tmp_path, make(tmp_path, 2, split="train"))
    file = tmp_path / "masks/1.tif"
    write(file, np.full((3, SIDE, SIDE), 7, np.uint16), tileset.MASK_BANDS)
    with pytest.raises(AssetReadError, match=naming("tile 1", "'building'", "0, 1, 2, 254, 255")):
        tileset.pictures_of(index, "train")
    write(file, np.zeros((3, SIDE, 2 * SIDE), np.uint16), tileset.MASK_BANDS)
    with pytest.raises(AssetReadError, match=naming("tile 1", "(64, 64)", "(64, 128)")):
        tileset.pictures_of(index, "train")
    write(file, np.zeros((1, SIDE, SIDE), np.uint8), ("building",))
    with pytest.raises(AssetReadError, match=naming("1.tif", 3, "uint16", 1, "uint8")):
        tileset.pictures_of(index, "train")
    file.write_bytes(b"GIF89a")
    with pytest.raises(AssetReadError, match=naming("1.tif", "GeoTIFF")):
        tileset.pictures_of(index, "train")
    file.unlink()
    with pytest.raises(AssetReadError, match=naming("1.tif")):
        tileset.pictures_of(index, "train")


def test_a_huge_tile_is_refused_before_its_pixels_are_read(tmp_path):
    index = save(tmp_path, make(tmp_path, 1))
    profile = {"count": 4, "height": 6000, "width": 6000, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        rasterio.open(tmp_path / "pictures/0.tif", "w", driver="GTiff", **profile).close()
    with pytest.raises(AssetReadError, match=naming("0.tif", "6000 x 6000", 4096)):
        tileset.pictures_of(index, "train")


def test_what_is_no_index_is_refused(tmp_path):
    with pytest.raises(RegistryError, match=naming("index.parquet", "`overwatt tiles`")):
        tileset.read_index(tmp_path)
    (tmp_path / "text.parquet").write_text("PAR1 or not")
    with pytest.raises(RegistryError, match=naming("text.parquet", "`overwatt tiles`")):
        tileset.read_index(tmp_path / "text.parquet")
    gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(0, 0)], crs=4326).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(RegistryError, match=naming("other.parquet", "'a'", "attribution")):
        tileset.read_index(tmp_path / "other.parquet")
    with pytest.raises(RegistryError, match=naming("'dev'", "test", "train", "val")):
        tileset.read_index(save(tmp_path, make(tmp_path, 1, split="dev")))
    with pytest.raises(RegistryError, match=naming("index.parquet", "'7'", "twice")):
        tileset.read_index(save(tmp_path, make(tmp_path, 2, tile_id="7")))


def test_an_index_without_any_georeference_is_read(tmp_path):
    index = save(tmp_path, make(tmp_path, 2, geometry=None, image_sha256="one"))
    assert tileset.read_index(index).geometry.isna().all()
    assert [k.kind for k in tileset.check([index])] == ["image"]


def test_the_check_hashes_pixels_anew_and_looks_across_indices(tmp_path):
    rows = make(tmp_path / "a")
    index = save(tmp_path / "a", rows)
    assert tileset.check([index]) == []
    own = (tmp_path / "a/pictures/2.tif").read_bytes()
    # the pixels of the train tile planted into the test tile, with the hash left as it was
    (tmp_path / "a/pictures/2.tif").write_bytes((tmp_path / "a/pictures/0.tif").read_bytes())
    assert [(k.kind, k.first, k.second) for k in tileset.check([index])] == [("pixels", "0", "2")]
    (tmp_path / "a/pictures/2.tif").write_bytes(own)
    (row,) = make(tmp_path / "b", 1)
    row |= {"tile_id": "far", "split": "test", "place": "far", "sites": "", "geometry": shapely.box(9, 9, 9.1, 9.1)}
    other = save(tmp_path / "b", [row])
    assert tileset.check([other]) == []
    assert [(k.kind, k.second) for k in tileset.check([index, other])] == [("pixels", "far")]

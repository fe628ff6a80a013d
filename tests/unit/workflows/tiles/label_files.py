"""Label files of each format about the small image of the tests."""

import json

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine

from overwatt.workflows.tiles.labels import LabelFile
from tests.support import NORTH_M, UTM_26N, WEST_M

CORNERS = [10, 10, 40, 10, 40, 30, 10, 30]
TO_MAP = Affine(2, 0, WEST_M, 0, -2, NORTH_M)


def coco(path, name="small.tif", **changes):
    data = {
        "images": [{"id": 1, "file_name": name, "width": 90, "height": 70, "license": 4}],
        "licenses": [{"id": 4, "name": "CC-BY-4.0"}],
        "categories": [{"id": 7, "name": "data_center"}, {"id": 8, "name": "Chiller"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [CORNERS]},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [50, 40, 20, 10], "segmentation": []},
        ],
    }
    path.write_text(json.dumps(data | changes))
    return LabelFile(path)


def on_map(corners):
    return shapely.Polygon([TO_MAP @ (x, y) for x, y in np.reshape(corners, (-1, 2))])


def vector(path, classes=("data_center", "data_center"), **more):
    shapes = [on_map(CORNERS), on_map([50, 40, 70, 40, 70, 50, 50, 50])]
    frame = gpd.GeoDataFrame({"class": list(classes), **more}, geometry=shapes, crs=UTM_26N)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_crs(4326).to_file(path)
    return LabelFile(path)

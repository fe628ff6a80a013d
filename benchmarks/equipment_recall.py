"""Share of a site's cooling equipment that the detector shows: `python -m benchmarks.equipment_recall --json`.

    python -m benchmarks.equipment_recall --json [--data DIR] [--weights FILE] [--scenes N] [--size PX] [--gsds M M …]

Of each known data center that is called one, the share of its equipment's area that the detector outlines on the same
site, and, where pixels are 0.6 m or finer, of its machines that are counted there (at most 1). Sites of which nothing
is found are counted apart: where nothing is outlined, no share is needed. SIMULATED scenes that no training uses; and
REAL: Ashburn with our own outlines, on which the bundled weights were trained, so its share is too high: out of fold
0.61 of the area was found (docs/detector.md). `a` and `b` are those of the Beta distribution with the
mean and the variance of the shares over sites; the cards hold them as `equipment_recall` (that of Ashburn,
docs/decisions/0021) and `unit_recall` (simulated).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import shapely.affinity
import torch

from benchmarks.real_data import real_data
from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, WGS84
from overwatt.models.detector.card import DEFAULT_WEIGHTS, UNIT_GSD_M
from overwatt.models.detector.inference import Detector
from overwatt.models.simulate import training_scene
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.pipeline.sites.clustering import cluster_sites
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.vectors import outlines_px
from overwatt.workflows.training.held_out import footprints_on

FIRST_SEED = 920_000_000  # no training uses seeds from 900,000,000 on
REACH_M = 60.0  # default of a workflow
LABELS = Path(__file__).parents[1] / "models" / "labels" / "ashburn.geojson"
Truth = tuple[shapely.Geometry, shapely.Geometry, float]
"""Buildings of a site, its equipment, both in pixels, and the number of its machines (NaN: not known)."""


def shares_on(detector: Detector, picture: Picture, truth: Sequence[Truth]) -> list[tuple[float, float]]:
    """Return the shares of the equipment's area and of the machines that are found, of each site that is called."""
    objects = footprints_on(detector, picture)
    scale = picture.gsd_m / DEGREE_LATITUDE_M  # pixels laid out at the equator, where degrees are equal
    shapes = objects.geometry.to_numpy()
    degrees = [shapely.transform(g, lambda xy: xy * scale) for g in shapes]
    _, member = cluster_sites(
        gpd.GeoDataFrame(objects.assign(geometry=degrees), geometry="geometry", crs=WGS84),
        reach_m=REACH_M, calibration=detector.card.calibration, prior=0.5,
    )  # fmt: skip
    equipment = (objects["class"] == "cooling_equipment").to_numpy(bool)
    halls = (objects["class"] == "data_center").to_numpy(bool)
    out = []
    for buildings, plant, units in truth:
        on = halls & shapely.intersects(shapes, buildings)
        mine = equipment & member.isin(member[on]).to_numpy(bool)
        if on.any() and plant.area > 0:
            found = shapely.union_all(shapes[mine]).intersection(plant).area / plant.area if mine.any() else 0.0
            touching = mine & shapely.intersects(shapes, plant)
            out.append((found, min(1.0, float(objects["units"][touching].fillna(0).sum()) / units)))
    return out


def simulated(detector: Detector, scenes: int, size_px: int, gsds_m: Sequence[float]) -> list[tuple[float, float]]:
    """Return the shares over the sites of new scenes."""
    out: list[tuple[float, float]] = []
    for i in range(scenes):
        gsd_m = gsds_m[i % len(gsds_m)]
        s = training_scene(FIRST_SEED + i, size_px, gsd_m)
        valid = np.ones(s.building.shape, bool)
        frame, inverse = shapely.box(0, 0, *s.building.shape[::-1]), (~s.transform).to_shapely()
        truth = []
        for _, part in s.truth.groupby("site_id"):
            pixels = [shapely.affinity.affine_transform(g, inverse) for g in part.geometry]
            kinds = part["class"].to_numpy(object)
            halls = shapely.union_all([g for g, k in zip(pixels, kinds, strict=True) if k == "data_center"])
            plant = shapely.union_all([g for g, k in zip(pixels, kinds, strict=True) if k == "cooling_equipment"])
            if halls.is_empty or not frame.contains(shapely.union(halls, plant)):
                continue
            truth.append((halls, plant, float(part["units"].fillna(0).sum())))
        picture = Picture(f"s{i}", s.optical, valid, s.building, s.cooling, gsd_m=gsd_m)
        out += shares_on(detector, picture, truth)
    return out


def ashburn(detector: Detector, image_path: Path) -> list[tuple[float, float]]:
    """Return the shares of area of the data centers of our outlines; equipment belongs to the nearest building."""
    image = open_image(image_path, detector.card)
    values, valid = image.read(0, 0, *image.shape)
    drawn = outlines_px(LABELS, image)
    halls = [o.polygon for o in drawn if o.klass == "data_center"]
    nearest = {k: list[shapely.Geometry]() for k in range(len(halls))}
    for o in drawn:
        # generators do not cool, and packaged units are no part of a site's cooling in the table either
        if o.klass == "cooling_equipment" and o.kind not in ("generator", "rooftop_unit"):
            away = shapely.distance(np.asarray(halls, object), o.polygon)
            if away.min() * image.gsd_m <= REACH_M:
                nearest[int(away.argmin())].append(o.polygon)
    truth = [(h, shapely.union_all(nearest[k]), np.nan) for k, h in enumerate(halls)]
    unknown = np.full(image.shape, IGNORE, np.uint8)
    optical = np.rint(values * 255).astype(np.uint8)
    return shares_on(detector, Picture("ashburn", optical, valid, unknown, unknown, gsd_m=image.gsd_m), truth)


def beta(every: np.ndarray) -> dict[str, Any]:
    """Return the number of sites, the quartiles of the shares above 0, and the Beta of the same mean and variance."""
    shares = every[every > 0]
    if len(shares) < 2:
        return {"sites": len(shares), "none_found": len(every) - len(shares)}
    mean, var = float(shares.mean()), float(shares.var(ddof=1))
    total = max(mean * (1 - mean) / max(var, 1e-9) - 1.0, 0.1)  # a + b, by moments
    quartiles = np.percentile(shares, [25, 50, 75]).round(3).tolist()
    none = len(every) - len(shares)
    return {"sites": len(shares), "none_found": none, "mean": round(mean, 3), "p25_p50_p75": quartiles,
            "a": round(mean * total, 2), "b": round((1 - mean) * total, 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data())
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--size", type=int, default=512, help="side of a scene, pixels")
    parser.add_argument("--gsds", type=float, nargs="+", default=[2.0, 1.0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector.load(args.weights)
    drawn = np.array(simulated(detector, args.scenes, args.size, args.gsds)).reshape(-1, 2)
    result: dict[str, Any] = {"simulated": {"area": beta(drawn[:, 0])}, "ashburn": None}
    if max(args.gsds) <= UNIT_GSD_M:
        result["simulated"]["units"] = beta(drawn[:, 1])
    image = args.data / "ashburn" / "naip_rgb_2m.tif"
    if image.is_file():
        result["ashburn"] = {"area": beta(np.array(ashburn(detector, image)).reshape(-1, 2)[:, 0])}
    print(json.dumps(result) if args.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

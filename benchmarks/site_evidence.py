"""What the counts of a whole site say beyond its most probable building: `python -m benchmarks.site_evidence --json`.

    python -m benchmarks.site_evidence --json [--data DIR] [--weights FILE] [--scenes N]

Sites of the detector on REAL pictures: known data centers (`named_sites`) against what is called on ordinary ground
(New York, Los Angeles and Boston, Las Vegas, NAIP of California, in none of which a data center is known). And on
SIMULATED scenes that no training uses. Reported for each: the exponents of a logistic regression on the log-odds of the
best building, ln buildings and ln(1 + equipment objects), with 90% intervals over places; `ordinary`, the mean of
buildings ** per_building * (1 + equipment) ** per_equipment over false sites, with the exponents of the card, each site
weighted by the likelihood ratio of its best building, so that the product of both ratios is calibrated; AUC and
log-loss (classes weighted equally) of true against false sites, from the best building alone and with the card's
`site_evidence`. The exponents on the card are an own choice inside the real intervals, not this fit: the pictures may
be measured with, not trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import torch
from scipy.optimize import minimize

from benchmarks.calibration import FIRST_SEED
from benchmarks.elsewhere.counted import CENTER, OTHER
from benchmarks.elsewhere.frames import PIN, Frame, boxed, nyc
from benchmarks.elsewhere.looks import OVERLAP, picture_of
from benchmarks.elsewhere.statistics import auc
from benchmarks.real_data import real_data
from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, WGS84
from overwatt.models.detector.calibration import logit, shifted
from overwatt.models.detector.card import DEFAULT_WEIGHTS, SiteEvidence
from overwatt.models.detector.inference import Detector
from overwatt.models.simulate import training_scene
from overwatt.models.training.samples import Picture
from overwatt.pipeline.sites.clustering import cluster_sites, site_ratio
from overwatt.workflows.training.held_out import footprints_on

REACH_M = 60.0  # default of a workflow
RIDGE_SD = 0.5  # prior spread of the two exponents: few sites leave them near 0
RESAMPLES = 200
GSDS_M = (0.6, 1.0, 2.0, 1.0)


@dataclass(frozen=True)
class Found:
    """A called site: whether it is a data center, its place, log-odds of its best building at even prior, counts."""

    center: bool
    place: str
    log_odds: float
    buildings: int
    equipment: int


def found_on(detector: Detector, picture: Picture, truth: dict[str, list[shapely.Geometry]], place: str) -> list[Found]:
    """Return the sites of a picture that lie on a known data center, or else are known to be none."""
    objects = footprints_on(detector, picture)
    scale = picture.gsd_m / DEGREE_LATITUDE_M  # pixels laid out at the equator, where degrees are equal
    shapes = objects.geometry.to_numpy()
    degrees = [shapely.transform(g, lambda xy: xy * scale) for g in shapes]
    sites, member = cluster_sites(
        gpd.GeoDataFrame(objects.assign(geometry=degrees), geometry="geometry", crs=WGS84),
        reach_m=REACH_M, calibration=detector.card.calibration, prior=0.5,
    )  # fmt: skip
    out = []
    for s in sites.itertuples():
        halls = shapes[((member == s.site_id) & (objects["class"] == CENTER)).to_numpy(bool, na_value=False)]
        on = {k: _touch(halls, boxes) for k, boxes in truth.items()}
        if on[CENTER] or on[OTHER]:
            odds = float(np.log(s.p_data_center / (1 - s.p_data_center)))
            out.append(Found(on[CENTER], place, odds, int(s.buildings), int(s.cooling_objects)))
    return out


def _touch(halls: np.ndarray, boxes: list[shapely.Geometry]) -> bool:
    return any(a.intersection(b).area >= OVERLAP * min(a.area, b.area) for a in halls for b in boxes)


def real(detector: Detector, data: Path) -> Iterator[Found]:
    """Yield the sites of the real pictures; on ordinary ground every one is false."""
    naip = [Frame(p, "naip_california", p.name.split("_2")[0], 0.6) for p in (data / "naip_california").glob("*.tif")]
    ordinary = [*boxed(data, "la_boston_roofs"), *boxed(data, "spacenet_vegas"), *nyc(data)]
    for frame in [*boxed(data, "named_sites"), *sorted(naip, key=lambda f: f.path), *ordinary]:
        values, valid, gsd_m = frame.at(detector.card)
        everywhere = [shapely.box(0, 0, *valid.shape[::-1])]
        factor = frame.gsd_m / gsd_m
        boxes = [(b.klass, shapely.box(*(v * factor for v in b.xyxy))) for b in frame.boxes if b.klass != PIN]
        known = frame.group == "named_sites"
        truth = {
            CENTER: [g for k, g in boxes if k == CENTER] if known else [],
            # a frame of known sites: only what is boxed as another building is known to be none
            OTHER: [g for k, g in boxes if k == OTHER] if known else everywhere,
        }
        # the same ground of several years, and tiles that overlap, are one place
        place = frame.path.name if frame.group in ("named_sites", "la_boston_roofs", "spacenet_vegas") else frame.place
        yield from found_on(detector, picture_of(frame, values, valid, gsd_m), truth, f"{frame.group}/{place}")


def simulated(detector: Detector, scenes: int) -> Iterator[Found]:
    """Yield the sites of new simulated scenes."""
    for i in range(scenes):
        gsd_m = GSDS_M[i % len(GSDS_M)]
        s = training_scene(FIRST_SEED + 500_000 + i, 384, gsd_m)
        picture = Picture(f"scene {i}", s.optical, np.ones(s.building.shape, bool), s.building, s.cooling, gsd_m=gsd_m)
        truth = {}
        for klass, value in ((CENTER, 2), (OTHER, 1)):
            y, x = np.nonzero(s.building == value)
            truth[klass] = [shapely.union_all(shapely.box(x, y, x + 1, y + 1))] if len(x) else []
        yield from found_on(detector, picture, truth, f"scene {i}")


def exponents(found: list[Found]) -> dict[str, Any]:
    """Return the fitted exponents with 90% intervals from a bootstrap over places."""
    x = np.array([[1.0, f.log_odds, np.log(f.buildings), np.log1p(f.equipment)] for f in found])
    y = np.array([f.center for f in found], float)
    names, member = np.unique([f.place for f in found], return_inverse=True)

    def fit(weight: np.ndarray) -> np.ndarray:
        def loss(b: np.ndarray) -> float:
            z = x @ b  # negative log-likelihood of a logistic regression, and the ridge
            return float((weight * (np.logaddexp(0, z) - y * z)).sum() + 0.5 * np.sum((b[2:] / RIDGE_SD) ** 2))

        return np.asarray(minimize(loss, np.zeros(x.shape[1])).x)

    rng = np.random.default_rng(0)
    drawn = [
        fit(np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[member].astype(float))
        for _ in range(RESAMPLES)
    ]
    best, (low, high) = fit(np.ones(len(y))), np.percentile(drawn, [5, 95], axis=0)
    return {
        name: {"fit": round(float(best[k]), 2), "interval": [round(float(low[k]), 2), round(float(high[k]), 2)]}
        for k, name in ((2, "per_building"), (3, "per_equipment"))
    }


def summary(found: list[Found], evidence: SiteEvidence) -> dict[str, Any]:
    """Return all figures of one source."""
    center = np.array([f.center for f in found], bool)
    alone = np.array([f.log_odds for f in found])
    ratio = np.array([site_ratio(f.buildings, f.equipment, evidence) for f in found])
    out: dict[str, Any] = {"true_sites": int(center.sum()), "false_sites": int((~center).sum())}
    ordinary = np.average(ratio[~center], weights=np.exp(alone[~center])) * evidence.ordinary
    out |= {"exponents": exponents(found), "ordinary": round(float(ordinary), 3)}
    for name, z in (("best_building", alone), ("whole_site", alone + np.log(ratio))):
        loss = np.logaddexp(0, np.where(center, -z, z))
        out[name] = {
            "auc": round(auc(z[center], z[~center]) or float("nan"), 3),
            "log_loss": round(float(loss[center].mean() + loss[~center].mean()) / 2, 3),
            "largest_ratio": round(float(np.exp(z.max())), 1),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data(), help="folder of the real imagery")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--scenes", type=int, default=160, help="number of simulated scenes")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector.load(args.weights)
    evidence = detector.card.site_evidence
    if evidence is None:
        raise SystemExit(f"{args.weights.name}: its card has no site_evidence")
    result: dict[str, Any] = {"largest_score_alone": round(float(np.exp(_top(detector))), 1)}
    if (args.data / "named_sites").is_dir():
        result["real"] = summary(list(real(detector, args.data)), evidence)
    result["simulated"] = summary(list(simulated(detector, args.scenes)), evidence)
    print(json.dumps(result) if args.json else json.dumps(result, indent=1))


def _top(detector: Detector) -> float:
    """Log likelihood ratio of an object whose evidence is as high as 8 bits allow."""
    c = detector.card.calibration
    return float(c.a + c.b * logit(shifted(np.ones(1), detector.card.offset))[0] - logit(c.prevalence))


if __name__ == "__main__":
    main()

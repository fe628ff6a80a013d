"""Footprints at pixels that do not show what a building is for.

In: table `footprints` of weights that do not tell the type of a roof. Out: the same roofs, none of them called a data
center, with a score that says nothing for or against it.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from scipy.special import expit

from overwatt.models.detector.calibration import logit
from overwatt.models.detector.card import Calibration
from overwatt.pipeline.tables import conform
from overwatt.pipeline.vocabulary import BUILDING_CLASSES


def without_type(footprints: gpd.GeoDataFrame, calibration: Calibration) -> gpd.GeoDataFrame:
    """Return table `footprints` with all buildings as other_building, and nothing else.

    The score is the one at which the calibrated probability of a data center is the prior of the area.

    Args:
        footprints: table `footprints`.
        calibration: of the weights, from their card.
    """
    roofs = footprints[footprints["class"].isin(BUILDING_CLASSES)]
    # solved from a + b logit(score) = logit(prevalence): a likelihood ratio of 1 (Platt scaling, as `p_data_center`)
    nothing = expit((logit(np.array(calibration.prevalence)) - calibration.a) / calibration.b)
    named = "o" + roofs["object_id"].str.slice(1)  # the first letter of an id is that of the class
    changed = roofs.assign(**{"class": "other_building", "score": 1.0 - float(nothing), "object_id": named})
    return conform(changed.reset_index(drop=True), "footprints")

"""Fits the novelty measure: the distance of a place's features from those of the training buildings.

In: the trained network and real training pictures. Out: mean and covariance of building features, stored in the
network (see `SiteNet.fit_novelty`). Fitted once, after training.
"""

from __future__ import annotations

import torch

from overwatt.aoi.grid import windows
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.inference import CORE_PX, HALO_PX
from overwatt.models.detector.network import NOVELTY_CHANNELS, NOVELTY_STRIDE, SiteNet
from overwatt.models.detector.weights import normalise
from overwatt.models.training.samples import NOT_CENTER, Picture

LEAST = 256
"""Minimum number of features: fewer do not determine a covariance of 40 dimensions (own choice)."""


def fit(net: SiteNet, card: ModelCard, pictures: list[Picture]) -> bool:
    """Collect the features on labelled buildings of real pictures and set the network's novelty measure.

    Args:
        net: the trained network; it is changed in place.
        card: its model card, for the normalisation.
        pictures: real training pictures at the ground sampling distance used for detection.

    Returns:
        True if set; False, with the network unchanged, if there are too few building pixels.
    """
    found = []
    for picture in pictures:
        ny, nx = picture.valid.shape
        known = (picture.building > 0) & (picture.building < NOT_CENTER) & picture.valid
        values = torch.from_numpy(normalise(card, picture.optical.astype("float32") / 255, picture.valid))
        pad = (HALO_PX, HALO_PX + CORE_PX, HALO_PX, HALO_PX + CORE_PX)
        values = torch.nn.functional.pad(values, pad)
        building = torch.nn.functional.pad(torch.from_numpy(known), (0, CORE_PX, 0, CORE_PX))
        for (y, x, _, _), _ in windows((0, 0, ny, nx), CORE_PX, HALO_PX):
            side = CORE_PX + 2 * HALO_PX
            with torch.inference_mode():
                features = net.forward_with_features(values[None, :, y : y + side, x : x + side])[1][0]
            # features of the halo are affected by the window's edge: keep the core, at the stride of the features
            h = HALO_PX // NOVELTY_STRIDE
            inner = features[:, h:-h, h:-h]
            mask = building[y : y + CORE_PX, x : x + CORE_PX][::NOVELTY_STRIDE, ::NOVELTY_STRIDE]
            found.append(inner[:, mask].T)
    features = torch.cat(found) if found else torch.empty(0, NOVELTY_CHANNELS)
    if len(features) < LEAST:
        return False
    net.fit_novelty(features.clone())
    return True

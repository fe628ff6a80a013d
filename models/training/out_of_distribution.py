"""Fits the novelty measure: the distance of a place's features from those of the training buildings.

In: the trained network and real training pictures. Out: mean and covariance of building features, stored in the
network (see `SiteNet.fit_novelty`). Fitted once, after training.
"""

from __future__ import annotations

import torch

from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.network import NOVELTY_CHANNELS, NOVELTY_STRIDE, SiteNet
from overwatt.models.detector.windows import gather, in_memory, inside, lattice
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
        known = (picture.building > 0) & (picture.building < NOT_CENTER) & picture.valid
        cells = lattice(picture.valid.shape, picture.gsd_m)
        pixels = gather(card, in_memory(picture.optical, picture.valid), cells, (0, 0, *picture.valid.shape))
        for patch in pixels.patches:
            with torch.inference_mode():
                features = net.forward_with_features(torch.from_numpy(patch.values)[None])[1][0]
            # features of the halo are affected by the window's edge: keep the cell, at the stride of the features
            rows, columns = (slice(k.start // NOVELTY_STRIDE, -(-k.stop // NOVELTY_STRIDE)) for k in patch.kept)
            mask = known[inside(patch.cell, pixels.core)][::NOVELTY_STRIDE, ::NOVELTY_STRIDE]
            found.append(features[:, rows, columns][:, torch.from_numpy(mask)].T)
    features = torch.cat(found) if found else torch.empty(0, NOVELTY_CHANNELS)
    if len(features) < LEAST:
        return False
    net.fit_novelty(features.clone())
    return True

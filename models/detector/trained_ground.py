"""Whether weights were trained on some ground, by the outlines of the pictures that their card names.

In: ground in lon/lat and the training data of a card. Out: yes, no, or 'possibly'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import shapely

from overwatt.models.detector.card import TrainingData

Trained = bool | Literal["possibly"]
"""Whether weights were trained on some ground; 'possibly' where the card is too coarse to tell."""
OVERLAP = 0.01
"""Two pictures show the same ground if they share at least this part of the smaller one: less is the error of an
outline or of the registration along a common edge (own choice)."""


def trained_on(ground: shapely.Geometry, training: Sequence[TrainingData]) -> Trained:
    """Return whether training pictures show some ground (lon/lat), by their outlines.

    A card without an outline states only a lon/lat box, which is larger than a tilted picture: ground inside of it
    was possibly trained on.
    """
    answer: Trained = False
    for source in training:
        if source.outline:
            if _share_ground(ground, shapely.make_valid(shapely.Polygon(source.outline))):
                return True
        # an extent whose west edge is east of its east edge crosses the antimeridian and is not compared
        elif source.extent and source.extent[0] <= source.extent[2]:
            answer = "possibly" if _share_ground(ground, shapely.box(*source.extent)) else answer
    return answer


def _share_ground(a: shapely.Geometry, b: shapely.Geometry) -> bool:
    # degrees: a ratio of areas at one place does not depend on their length
    return a.intersection(b).area > OVERLAP * min(a.area, b.area)

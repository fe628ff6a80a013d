"""Kind of a site as an inference: AI training, cloud, enterprise, colocation or mine.

In: draws of IT power and what is known of the site. Out: the kind of each draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = ("ai", "cloud", "enterprise", "colocation", "mine")
"""ai: built for training and serving large models. The others in the sense of docs/methods.md, section 5.2."""


@dataclass(frozen=True)
class Hint:
    """A declaration that probably belongs to the site. It may sharpen kind and mix of chips, never power.

    Attributes:
        weight: probability that it belongs to the site (`p_match`), 0 to 1.
        operator, use, country: as declared; None: not stated.
        chips: name of chip -> number.
    """

    weight: float
    operator: str | None = None
    use: str | None = None
    country: str | None = None
    chips: Mapping[str, float] = field(default_factory=dict)

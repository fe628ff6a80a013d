"""Sensor profiles: which weights look at which imagery, and at what ground size.

In: the ground sampling distance of an image, or a profile's name. Out: a `Profile`, or a
`ModelContractError` that names the profiles. A profile narrows the card of its weights: imagery
within `native_range_m` keeps its own pixels, finer imagery within `gsd_range_m` is averaged to
`gsd_m`, anything else is refused. The weights named here are in training: no command uses profiles yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aoi.errors import ModelContractError, nearest
from models.card import ModelCard

FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Profile:
    """One kind of imagery.

    Attributes:
        name: as given to `--profile`.
        sensor: in words.
        weights: file name in models/weights.
        gsd_m, gsd_range_m, native_range_m: metres a pixel; see `ModelCard`.
        by_itself: whether it is chosen from the ground size alone.
    """

    name: str
    sensor: str
    weights: str
    gsd_m: float
    gsd_range_m: tuple[float, float]
    native_range_m: tuple[float, float]
    by_itself: bool = True

    @property
    def path(self) -> Path:
        """The weights file."""
        return FOLDER / self.weights

    def narrowed(self, card: ModelCard) -> ModelCard:
        """The card of the weights with this profile's ground sizes."""
        sizes = {"gsd_m": self.gsd_m, "gsd_range_m": self.gsd_range_m, "native_range_m": self.native_range_m}
        return card.model_copy(update=sizes)


_AERIAL, _SENTINEL2 = "sitenet-aerial-v2.safetensors", "sitenet-sentinel2-v1.safetensors"
PROFILES = (
    Profile("naip", "NAIP and other aerial imagery, 0.5-1.2 m", _AERIAL, 1.0, (0.05, 1.2), (0.5, 1.2)),
    Profile("aerial_2m", "aerial and fine satellite imagery, 1.2-4 m", _AERIAL, 2.0, (1.2, 4.0), (1.2, 4.0)),
    Profile("sentinel2", "Sentinel-2 true colour, 10 m", _SENTINEL2, 10.0, (8.0, 12.5), (8.0, 12.5)),
    Profile("units", "photographs up to 0.6 m: machines are counted", _AERIAL, 0.5, (0.05, 0.6), (0.4, 0.6), False),
)


def named(name: str) -> Profile:
    """The profile of a name.

    Raises:
        ModelContractError: there is none.
    """
    for profile in PROFILES:
        if profile.name == name:
            return profile
    raise ModelContractError(f"profile '{name}'; {nearest(name, [p.name for p in PROFILES])}")


def for_gsd(gsd_m: float, source: str) -> Profile:
    """The profile that an image's ground size asks for.

    Raises:
        ModelContractError: none takes imagery of that size.
    """
    for profile in PROFILES:
        if profile.by_itself and profile.gsd_range_m[0] <= gsd_m <= profile.gsd_range_m[1]:
            return profile
    have = "; ".join(f"{p.name} {p.gsd_range_m[0]:g}-{p.gsd_range_m[1]:g} m" for p in PROFILES if p.by_itself)
    raise ModelContractError(f"{source}: no weights for {gsd_m:g} m a pixel (there are {have})")

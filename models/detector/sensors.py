"""Sensor profiles: which weights look at which imagery, and at what ground size.

In: a profile's name, or a weights file. Out: the weights file and what its card becomes. A profile
narrows the card of its weights: imagery within `native_range_m` keeps its own pixels, finer imagery
within `gsd_range_m` is averaged to `gsd_m`, anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from overwatt.aoi.errors import ConfigError, ModelContractError, nearest
from overwatt.models.detector.card import DEFAULT_WEIGHTS, ModelCard

FOLDER = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class Profile:
    """One kind of imagery.

    Attributes:
        name: as given to `--profile`.
        sensor: in words.
        weights: file name in models/weights.
        gsd_m, gsd_range_m, native_range_m: metres a pixel; see `ModelCard`.
    """

    name: str
    sensor: str
    weights: str
    gsd_m: float
    gsd_range_m: tuple[float, float]
    native_range_m: tuple[float, float]

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
    Profile("naip", "NAIP and other aerial imagery, 0.5-1.2 m", _AERIAL, 1.0, (0.1, 1.2), (0.5, 1.2)),
    Profile("aerial_2m", "aerial and fine satellite imagery, 1.2-4 m", _AERIAL, 2.0, (1.2, 4.0), (1.2, 4.0)),
    Profile("sentinel2", "Sentinel-2 true colour, 10 m", _SENTINEL2, 10.0, (8.0, 12.5), (8.0, 12.5)),
    Profile("units", "photographs up to 0.6 m: machines are counted", _AERIAL, 0.5, (0.1, 0.6), (0.4, 0.6)),
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


def weights_of(profile: str | None, weights: Path | None) -> tuple[Path, Profile | None]:
    """The weights file that a profile's name or a path asks for; the shipped ones where both are absent.

    Raises:
        ConfigError: both are given.
        ModelContractError: there is no such profile.
    """
    if profile is None:
        return weights or DEFAULT_WEIGHTS, None
    if weights is not None:
        raise ConfigError(f"profile '{profile}' and weights {weights.name}: give one; a profile has its own")
    found = named(profile)
    return found.path, found

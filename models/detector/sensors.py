"""Sensor profiles: which weights are used for which imagery, at which ground sampling distance.

In: the name of a profile, or a weights file. Out: the weights file, and the profile that restricts its card. Imagery
within `native_range_m` keeps its own pixels, finer imagery within `gsd_range_m` is averaged to `gsd_m`, and other
imagery is refused.
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
        sensor: description of the imagery.
        weights: file name in models/weights.
        gsd_m, gsd_range_m, native_range_m: metres per pixel; see `ModelCard`.
        construction_only: no roof is called a data center; two dates are compared for construction (docs/detector.md).
    """

    name: str
    sensor: str
    weights: str
    gsd_m: float
    gsd_range_m: tuple[float, float]
    native_range_m: tuple[float, float]
    construction_only: bool = False

    @property
    def path(self) -> Path:
        """Path of the weights file."""
        return FOLDER / self.weights

    def narrowed(self, card: ModelCard) -> ModelCard:
        """Return the card of the weights with the ground sampling distances of this profile."""
        sizes = {"gsd_m": self.gsd_m, "gsd_range_m": self.gsd_range_m, "native_range_m": self.native_range_m}
        return card.model_copy(update=sizes)


_AERIAL, _SENTINEL2 = "sitenet-aerial-v3.safetensors", "sitenet-sentinel2-v1.safetensors"
PROFILES = (
    Profile("naip", "NAIP and other aerial imagery, 0.5-1.2 m", _AERIAL, 1.0, (0.1, 1.2), (0.5, 1.2)),
    Profile("aerial_2m", "aerial and fine satellite imagery, 1.2-4 m", _AERIAL, 2.0, (1.2, 4.0), (1.2, 4.0)),
    Profile(
        "sentinel2", "Sentinel-2 true colour, 10 m: construction between two dates", _SENTINEL2,
        10.0, (8.0, 12.5), (8.0, 12.5), construction_only=True,
    ),
    Profile("units", "photographs up to 0.6 m: machines are counted", _AERIAL, 0.5, (0.1, 0.6), (0.4, 0.6)),
)  # fmt: skip


TYPE_UNTOLD = (
    "at this pixel size the type of a roof is not told: no roof is called a data center; two dates can be compared"
)
"""What a run says whose weights are for construction only."""


def tells_type(card: ModelCard) -> bool:
    """Return whether weights may call a roof a data center; those of a profile for construction only may not."""
    return card.name not in {Path(p.weights).stem for p in PROFILES if p.construction_only}


def named(name: str) -> Profile:
    """Return the profile of a name.

    Raises:
        ModelContractError: there is no such profile.
    """
    for profile in PROFILES:
        if profile.name == name:
            return profile
    raise ModelContractError(f"profile '{name}'; {nearest(name, [p.name for p in PROFILES])}")


def weights_of(profile: str | None, weights: Path | None) -> tuple[Path, Profile | None]:
    """Return the weights file for a profile or a path [default: bundled weights], and the profile if one is named.

    Raises:
        ConfigError: a profile and weights are both given.
        ModelContractError: there is no such profile.
    """
    if profile is None:
        return weights or DEFAULT_WEIGHTS, None
    if weights is not None:
        raise ConfigError(
            f"profile '{profile}' and weights {weights.name}: give one of them; a profile has its own weights"
        )
    found = named(profile)
    return found.path, found

"""The card of a set of weights: the imagery that the weights may be used on.

In: the `.json` file next to a `.safetensors` file. Out: a `ModelCard`, or a `ModelContractError` that
says what does not fit. A card states bands, units, ground sampling distance, normalisation, training data with
licences, scores and calibration. `check_fits` refuses imagery that the card does not cover. `weights` reads the
tensors; this module works without torch, so that stages on tables need no torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from overwatt.aoi.errors import ModelContractError, nearest
from overwatt.models.reference.machine_kinds import MACHINE_KINDS

BASE_OUTPUTS = ("background", "other_building", "data_center", "cooling_equipment", "interior", "unit")
OUTPUTS = (*BASE_OUTPUTS, *MACHINE_KINDS, "substation")
"""Outputs of the network, in order; older weights have the first four or `BASE_OUTPUTS`."""
MACHINE_OUTPUTS = ("cooling_equipment", *MACHINE_KINDS)
"""Outputs of the branch for machines, in order."""
CHANNELS = (*BASE_OUTPUTS, "novelty", "evidence", *MACHINE_KINDS, "substation")
"""Channels of an inference result, in order; those that the weights do not have are 0."""
NOVELTY_STEP = 1 / 32
"""Novelty per count of an inference result: 1, the level of the training areas, is 32 of 255 counts."""
EVIDENCE_STEP, EVIDENCE_ZERO = 1 / 16, 128
"""With scoring 'peak', evidence is stored as log-odds: 0 is count 128, a count is a sixteenth. As a probability times
255, the highest scores, on which the strictest thresholds lie, would be equal."""
UNIT_GSD_M = 0.6
"""Machines on any roof are outlined, and counted, where pixels are at most this large: a chiller is 2.3 m wide, the
gaps are half of that."""
GSD_TOLERANCE = 0.01
"""Relative difference of a pixel's side on the ground from its nominal one: map scales of UTM differ by up to this."""
MAX_WEIGHTS_BYTES = 25_000_000
"""Largest weights file that is read or written; all in the repository together stay below it."""
MAX_CARD_BYTES = 1_000_000
DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "sitenet-aerial-v3.safetensors"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingData(_Frozen):
    """One source of training data: imagery with labels."""

    name: str
    licence: str
    outlines: str = Field(description="who drew the labels, and from which source")
    image_sha256: str = Field(default="", description="content hash of the image, to recognise it in an evaluation")
    extent: tuple[float, float, float, float] | None = Field(
        default=None, description="[west, south, east, north] of the image, lon/lat degrees"
    )
    outline: tuple[tuple[float, float], ...] | None = Field(
        default=None, max_length=1000, description="ring around the imaged ground, lon/lat degrees"
    )


class Calibration(_Frozen):
    """Platt scaling: log-odds that an object is a data center = a + b * logit(score), at the training prevalence."""

    # Platt (1999); b > 0 keeps the order of the scores
    a: float = 0.0
    b: float = Field(default=1.0, gt=0)
    prevalence: float = Field(default=0.5, gt=0, lt=1, description="share of data centers among the objects of the fit")
    objects: int = Field(default=0, description="number of held-out objects of the fit")


class SiteEvidence(_Frozen):
    """What a whole site says beyond its most probable building, as a likelihood ratio of its counts.

    ratio = buildings ** `per_building` * (1 + equipment objects) ** `per_equipment` / `ordinary`. Exponents below 1
    because the errors on one site are not independent; `ordinary` is the mean of the numerator over sites that were
    wrongly called, each weighted by the ratio of its best building, so that the product of both ratios is 1 there on
    average, as a likelihood ratio must be.
    """

    per_building: float = Field(ge=0, le=1)
    per_equipment: float = Field(ge=0, le=1)
    ordinary: float = Field(ge=1)
    false_sites: int = Field(default=0, ge=0, description="number of wrongly called sites that `ordinary` rests on")


class EquipmentRecall(_Frozen):
    """Share of a site's cooling equipment that the detector shows, as a Beta distribution over held-out sites."""

    a: float = Field(gt=0)
    b: float = Field(gt=0)
    sites: int = Field(ge=2, description="number of sites that it was measured on")
    source: str = Field(description="which sites, and how")


class ModelCard(_Frozen):
    """What a set of weights is, and what it may be used on."""

    name: str
    version: str
    created: str
    licence: str
    architecture: Literal["sitenet"] = "sitenet"
    scoring: Literal["mean", "peak"] = Field(
        default="mean", description="evidence of an object: mean over its pixels, or maximum over two resolutions"
    )
    offset: float = Field(
        default=0.0, ge=-10, le=10, description="log-odds at which scoring 'peak' gives probability 0.5"
    )
    width: int = Field(default=16, ge=4, le=64)
    counting: bool = Field(
        default=False, description="whether the weights have the branch that counts machines at 0.6 m and finer"
    )
    machines: bool = Field(
        default=False, description="whether the weights have the branch for machines on any roof, at 0.6 m and finer"
    )
    outputs: tuple[str, ...] = OUTPUTS
    bands: tuple[str, ...] = Field(min_length=1, max_length=64, description="optical bands by name, in input order")
    thermal_bands: tuple[str, ...] = Field(
        default=(),
        max_length=8,
        description="thermal bands, after the optical ones; the imagery may lack them",
    )
    units: Literal["display_uint8", "reflectance"] = Field(description="unit of the optical values")
    gsd_m: float = Field(gt=0, description="ground sampling distance that the network works at, metres")
    gsd_range_m: tuple[float, float] = Field(
        description="ground sampling distances accepted, metres; finer than native_range_m is averaged to gsd_m"
    )
    native_range_m: tuple[float, float] = Field(
        description="ground sampling distance at which the pixels of the image are used without resampling, metres"
    )
    mean: tuple[float, ...] = Field(description="per band, subtracted after scaling to 0..1")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="per band, divided by")
    training: tuple[TrainingData, ...] = ()
    calibration: Calibration = Field(default_factory=Calibration)
    calibration_thermal: Calibration | None = Field(
        default=None, description="for objects with measured thermal bands; if absent, `calibration` serves both"
    )
    site_evidence: SiteEvidence | None = Field(
        default=None, description="evidence of a whole site; if absent, its most probable building alone counts"
    )
    equipment_recall: EquipmentRecall | None = Field(
        default=None, description="share of the area of a site's cooling equipment that is outlined"
    )
    unit_recall: EquipmentRecall | None = Field(
        default=None, description="share of a site's machines that are counted, where pixels are 0.6 m or finer"
    )
    scores: dict[str, object] = {}
    limits: tuple[str, ...] = Field(default=(), description="where not to use the weights, in words")
    weights_sha256: str = ""

    @property
    def channels(self) -> int:
        """Number of input channels, optical and thermal."""
        return len(self.bands) + len(self.thermal_bands)


def check_fits(card: ModelCard, *, bands: tuple[str, ...], gsd_m: float, units: str, source: str) -> None:
    """Refuse imagery that the weights were not trained for. Thermal bands may be absent: see `weights.normalise`.

    Args:
        card: card of the weights.
        bands: names of the bands of the image.
        gsd_m: its ground sampling distance, metres.
        units: unit of its values; accepted are `display_uint8` and `reflectance`, as on the card.
        source: name of the image, for the error message.

    Raises:
        ModelContractError: a band is missing, the GSD is outside the range of the card, or the units differ.
    """
    missing = [b for b in card.bands if b not in bands]
    if missing:
        hint = nearest(missing[0], bands) if bands else "the image names no bands"
        raise ModelContractError(
            f"{source}: weights '{card.name}' need bands {', '.join(card.bands)}; missing {', '.join(missing)} ({hint})"
        )
    # finer imagery can be averaged to the network's pixels, coarser imagery cannot be sharpened
    low, high = card.gsd_range_m
    # nominal sizes: a pixel of 10 cm on a UTM grid has 9.996 cm on the ground
    if not low * (1 - GSD_TOLERANCE) <= gsd_m <= high * (1 + GSD_TOLERANCE):
        raise ModelContractError(
            f"{source}: ground sampling distance {gsd_m:g} m is outside {low:g}-{high:g} m, "
            f"the range of weights '{card.name}'; use other imagery or weights, or the profile of its sensor"
        )
    if units != card.units:
        helps = "; give the 8-bit true-colour image of the product" if card.units == "display_uint8" else ""
        raise ModelContractError(f"{source}: units '{units}', but weights '{card.name}' need '{card.units}'{helps}")


def load_card(path: Path) -> ModelCard:
    """Read the card of a weights file.

    Raises:
        ModelContractError: the weights or the card are missing, or the card is too large or invalid.
    """
    card_path = path.with_suffix(".json")
    if not path.is_file():
        raise ModelContractError(f"weights {path}: no such file")
    if not card_path.is_file():
        raise ModelContractError(
            f"weights {path.name}: no card {card_path.name} next to it; give weights with their card"
        )
    if card_path.stat().st_size > MAX_CARD_BYTES:
        raise ModelContractError(f"{card_path.name}: larger than {MAX_CARD_BYTES} bytes, not a card")
    try:
        return ModelCard.model_validate_json(card_path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("file",), "msg": "not text"}
        field = ".".join(str(p) for p in first["loc"])
        raise ModelContractError(f"{card_path.name}: field '{field}': {first['msg']}") from error


def verified(path: Path) -> ModelCard:
    """Read the card of a weights file and check the file against it, without reading the tensors.

    Raises:
        ModelContractError: file or card missing, too large, not a card, or of other weights.
    """
    card = load_card(path)
    read_weights(path, card)
    return card


def read_weights(path: Path, card: ModelCard) -> bytes:
    """Return the bytes of a weights file.

    Raises:
        ModelContractError: the file is too large, or its hash differs from the card's.
    """
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise ModelContractError(f"{path.name}: {size / 1e6:.1f} MB, the limit is 25 MB")
    blob = path.read_bytes()
    # the hash ties the tensors to the card: scores and calibration are of these weights and no others
    digest = hashlib.sha256(blob).hexdigest()
    if digest != card.weights_sha256:
        raise ModelContractError(
            f"{path.name}: sha256 {digest[:12]}… differs from {card.weights_sha256[:12]}… in its card; "
            "the file is damaged or the card is of other weights"
        )
    return blob

"""Weights and their card: what a set of weights may be used on, enforced.

In: a `.safetensors` file and the `.json` card of the same name. Out: a `ModelCard` and the
tensors, or a `ModelContractError` that says what does not fit. A card states bands, units,
ground sampling distance, normalisation, training data with licences, scores and calibration;
the loader refuses imagery outside of what the card states. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from overwatt.aoi.errors import ModelContractError, nearest
from overwatt.models.detector.network import OUTPUTS, SiteNet

MAX_WEIGHTS_BYTES = 25_000_000
MAX_CARD_BYTES = 1_000_000
DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights" / "sitenet-aerial-v2.safetensors"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingData(_Frozen):
    """One source of training data."""

    name: str
    licence: str
    outlines: str = Field(description="who drew the labels, from what")
    image_sha256: str = Field(default="", description="content hash of the image, to recognise it in an evaluation")
    extent: tuple[float, float, float, float] | None = Field(
        default=None, description="[west, south, east, north] of the image, lon/lat degrees"
    )


class Calibration(_Frozen):
    """log-odds of an object being a data center = a + b * logit(score), at the training prevalence."""

    a: float = 0.0
    b: float = Field(default=1.0, gt=0)
    prevalence: float = Field(
        default=0.5, gt=0, lt=1, description="share of data centers among the objects it was fit on"
    )
    objects: int = Field(default=0, description="number of held-out objects it was fit on")


class ModelCard(_Frozen):
    """What a set of weights is, and what it may be used on."""

    name: str
    version: str
    created: str
    licence: str
    architecture: Literal["sitenet"] = "sitenet"
    scoring: Literal["mean", "peak"] = Field(
        default="mean", description="an object's evidence: mean over its pixels, or its strongest place in two looks"
    )
    offset: float = Field(default=0.0, ge=-10, le=10, description="log-odds at which scoring 'peak' is undecided")
    width: int = Field(default=16, ge=4, le=64)
    counting: bool = Field(default=False, description="has the branch that counts machines at 0.6 m and finer")
    outputs: tuple[str, ...] = OUTPUTS
    bands: tuple[str, ...] = Field(min_length=1, max_length=64, description="optical bands by name, in input order")
    thermal_bands: tuple[str, ...] = Field(
        default=(),
        max_length=8,
        description="thermal bands after the optical ones; may be absent in the imagery",
    )
    units: Literal["display_uint8", "reflectance"] = Field(description="what the optical numbers are")
    gsd_m: float = Field(gt=0, description="ground sampling distance the network works at, metres")
    gsd_range_m: tuple[float, float] = Field(
        description="imagery accepted: finer is averaged to gsd_m, coarser is refused"
    )
    native_range_m: tuple[float, float] = Field(description="within this the image's own pixels are used unresampled")
    mean: tuple[float, ...] = Field(description="per band, subtracted after scaling to 0..1")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="per band, divided by")
    training: tuple[TrainingData, ...] = ()
    calibration: Calibration = Field(default_factory=Calibration)
    calibration_thermal: Calibration | None = Field(
        default=None, description="of objects whose thermal bands were measured; absent: `calibration` serves both"
    )
    scores: dict[str, object] = {}
    limits: tuple[str, ...] = Field(default=(), description="where not to use it, in words")
    weights_sha256: str = ""

    @property
    def channels(self) -> int:
        """Number of input channels: optical and thermal."""
        return len(self.bands) + len(self.thermal_bands)


def check_fits(card: ModelCard, *, bands: tuple[str, ...], gsd_m: float, units: str, source: str) -> None:
    """Refuse imagery that the weights were not made for. Thermal bands may be absent: see `normalise`.

    Args:
        card: the weights' card.
        bands: band names the image offers.
        gsd_m: its ground sampling distance, metres.
        units: `display_uint8`, `reflectance` or another word, which is refused.
        source: name of the image, for the message.

    Raises:
        ModelContractError: bands missing, GSD outside of the card's range, or other units.
    """
    missing = [b for b in card.bands if b not in bands]
    if missing:
        hint = nearest(missing[0], bands) if bands else "the image names no bands"
        raise ModelContractError(
            f"{source}: weights '{card.name}' need bands {', '.join(card.bands)}; missing {', '.join(missing)} ({hint})"
        )
    low, high = card.gsd_range_m
    if not low <= gsd_m <= high:
        raise ModelContractError(
            f"{source}: ground sampling distance {gsd_m:g} m is outside of {low:g}-{high:g} m, "
            f"the range of weights '{card.name}'; use other imagery or weights, or its sensor's profile"
        )
    if units != card.units:
        raise ModelContractError(f"{source}: units '{units}', but weights '{card.name}' need '{card.units}'")


def normalise(card: ModelCard, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scale to the network's input; a constant of the card, never of the tile.

    Args:
        card: the weights' card.
        values: (band, y, x) float32: the card's optical bands, 0..1, in its order; then its thermal
            bands, kelvin, in its order, or none of them. NaN in a thermal band: not measured there.
        valid: (y, x) bool; elsewhere the input is zero, the mean of the training data.

    Returns:
        (channel, y, x) float32; a thermal band that is absent is zero.

    Raises:
        ModelContractError: another number of bands.
    """
    n = len(card.bands)
    if len(values) not in (n, card.channels):
        also = f", or {card.channels} with thermal" if card.thermal_bands else ""
        raise ModelContractError(f"{len(values)} bands given, weights '{card.name}' take {n}{also}")
    mean = np.asarray(card.mean, np.float32)[: len(values), None, None]
    std = np.asarray(card.std, np.float32)[: len(values), None, None]
    out = np.zeros((card.channels, *valid.shape), np.float32)
    out[: len(values)] = np.where(valid, (values - mean) / std, np.float32(0))
    out[n:][np.isnan(out[n:])] = 0
    return out


def save(net: SiteNet, card: ModelCard, path: Path) -> ModelCard:
    """Write half-precision weights and the card beside them; return the card with its hash.

    Raises:
        ModelContractError: too large, or a weight half precision cannot hold (a diverged training).
    """
    tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()}
    _check_finite(tensors, path.name)
    blob = save_tensors(tensors)
    if len(blob) > MAX_WEIGHTS_BYTES:
        raise ModelContractError(f"{path.name}: {len(blob) / 1e6:.1f} MB of weights, the limit is 25 MB")
    found = {"weights_sha256": hashlib.sha256(blob).hexdigest(), "counting": net.counter is not None}
    card = card.model_copy(update=found)
    text = json.dumps(card.model_dump(), indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return card


def _check_finite(tensors: dict[str, Tensor], name: str) -> None:
    for key, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise ModelContractError(f"{name}: '{key}' holds values that are not finite in half precision; train again")


def load_card(path: Path) -> ModelCard:
    """Read the card that belongs to a weights file.

    Raises:
        ModelContractError: file or card missing, too large, or not a card.
    """
    card_path = path.with_suffix(".json")
    if not path.is_file():
        raise ModelContractError(f"weights {path}: no such file")
    if not card_path.is_file():
        raise ModelContractError(f"weights {path.name}: no card {card_path.name} beside them; weights come with a card")
    if card_path.stat().st_size > MAX_CARD_BYTES:
        raise ModelContractError(f"{card_path.name}: larger than {MAX_CARD_BYTES} bytes, not a card")
    try:
        return ModelCard.model_validate_json(card_path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("file",), "msg": "not text"}
        field = ".".join(str(p) for p in first["loc"])
        raise ModelContractError(f"{card_path.name}: field '{field}': {first['msg']}") from error


def load(path: Path = DEFAULT_WEIGHTS) -> tuple[SiteNet, ModelCard]:
    """Load network and card, in float32, in evaluation mode.

    Raises:
        ModelContractError: missing or oversized files, a hash that differs from the card's,
            another architecture or other outputs, or tensors that do not fit.
    """
    card = load_card(path)
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise ModelContractError(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, the limit is 25 MB")
    blob = path.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    if digest != card.weights_sha256:
        raise ModelContractError(
            f"{path.name}: sha256 {digest[:12]}… differs from {card.weights_sha256[:12]}… in its card; "
            "the file is damaged or the card is of other weights"
        )
    if card.outputs not in (OUTPUTS, OUTPUTS[:4]) or len(card.mean) != card.channels or len(card.std) != card.channels:
        raise ModelContractError(f"{path.name}: outputs or normalisation in its card do not fit this version")
    if card.calibration_thermal is not None and not card.thermal_bands:
        raise ModelContractError(f"{path.name}: its card has a thermal calibration but no thermal bands")
    net = SiteNet(card.channels, card.width, len(card.outputs), card.counting)
    try:
        tensors: dict[str, Tensor] = load_tensors(blob)
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        _check_finite(tensors, path.name)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelContractError(f"{path.name}: tensors do not fit the network ({reason})") from error
    return net.eval().to(memory_format=torch.channels_last), card

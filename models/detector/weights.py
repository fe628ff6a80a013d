"""Tensors of a set of weights: written in half precision, read back only if they match their card.

In: a `.safetensors` file with its card. Out: a `SiteNet` and the `ModelCard`, or a `ModelContractError` that says
what does not fit. Nothing is unpickled, so a file cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from overwatt.aoi.errors import ModelContractError
from overwatt.aoi.output import written
from overwatt.models.detector.card import (
    BASE_OUTPUTS,
    DEFAULT_WEIGHTS,
    MAX_WEIGHTS_BYTES,
    OUTPUTS,
    ModelCard,
    load_card,
    read_weights,
)
from overwatt.models.detector.network import SiteNet


def save(net: SiteNet, card: ModelCard, path: Path) -> ModelCard:
    """Write half-precision weights and the card next to them; return the card with the hash of the weights.

    Raises:
        ModelContractError: the file is too large, or a weight exceeds half precision (a diverged training).
    """
    # half precision halves the files; `_check_finite` refuses weights that it cannot hold
    tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()}
    _check_finite(tensors, path.name)
    blob = save_tensors(tensors)
    if len(blob) > MAX_WEIGHTS_BYTES:
        raise ModelContractError(f"{path.name}: {len(blob) / 1e6:.1f} MB of weights, the limit is 25 MB")
    branches = {"counting": net.counter is not None, "machines": net.machines is not None}
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(blob).hexdigest()} | branches)
    text = json.dumps(card.model_dump(), indent=1, allow_nan=False)
    with written(path) as part:
        part.write_bytes(blob)
    with written(path.with_suffix(".json")) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return card


def _check_finite(tensors: dict[str, Tensor], name: str) -> None:
    for key, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise ModelContractError(f"{name}: '{key}' holds values that are not finite in half precision; train again")


def load(path: Path = DEFAULT_WEIGHTS) -> tuple[SiteNet, ModelCard]:
    """Load network and card; the network is in float32 and in evaluation mode.

    Raises:
        ModelContractError: a file is missing or too large, its hash differs from that of the card, or the architecture,
            the outputs or the tensors do not fit.
    """
    card = load_card(path)
    blob = read_weights(path, card)
    known = (OUTPUTS, BASE_OUTPUTS, BASE_OUTPUTS[:4])
    if card.outputs not in known or len(card.mean) != card.channels or len(card.std) != card.channels:
        raise ModelContractError(f"{path.name}: outputs or normalisation in its card do not fit this version")
    if card.calibration_thermal is not None and not card.thermal_bands:
        raise ModelContractError(f"{path.name}: its card has a thermal calibration but no thermal bands")
    net = SiteNet(card.channels, card.width, len(card.outputs), card.counting, card.machines)
    try:
        tensors: dict[str, Tensor] = load_tensors(blob)
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        _check_finite(tensors, path.name)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelContractError(f"{path.name}: tensors do not fit the network ({reason})") from error
    return net.eval().to(memory_format=torch.channels_last), card

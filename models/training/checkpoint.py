"""The checkpoint of a training: what it was made from, how far it came, and its loss curve.

In: the state of a training. Out: a file that a stopped training resumes from, and the curve that
it holds. A file belongs to the settings, pictures, bands and start that it was made with, and is
refused for others. It is ours, lives in the run folder, and is still read with torch's restricted
loader: nothing in it is unpickled freely.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.network import SiteNet
from overwatt.models.training.samples import Picture

USUAL_GSD_M = 2.0  # the default of Picture.gsd_m


@dataclass(frozen=True)
class Curve:
    """How a training went.

    Attributes:
        losses: (step, training loss), every step once, also after resumes.
        checks: (step, validation loss) of every check.
        best_step: step of the lowest validation loss; None without validation pictures.
        stopped: whether it ended early, for want of a lower validation loss.
    """

    losses: tuple[tuple[int, float], ...]
    checks: tuple[tuple[int, float], ...]
    best_step: int | None
    stopped: bool


def curve(path: Path) -> Curve:
    """Read the loss curve out of a checkpoint.

    Raises:
        ConfigError: not a readable checkpoint.
    """
    state = _load(path, torch.device("cpu"))
    checks = Checks(0)
    checks.load(state.get("checks", {}))
    return Curve(
        tuple((int(s), float(x)) for s, x in state.get("history", [])),
        tuple(checks.seen),
        checks.best_step,
        bool(state.get("stopped", False)),
    )


class Checks:
    """Early stopping: the validation losses so far and the state of the lowest.

    Args:
        patience: stop after so many checks in a row without a lower loss; 0: never.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.seen: list[tuple[int, float]] = []
        self.best: dict[str, Tensor] | None = None

    @property
    def best_step(self) -> int | None:
        """The first step with the lowest finite loss."""
        finite = [(loss, step) for step, loss in self.seen if np.isfinite(loss)]
        return min(finite)[1] if finite else None

    @property
    def stop(self) -> bool:
        """Whether the patience is used up."""
        last = [step for step, _ in self.seen]
        since = len(last) - 1 - last.index(self.best_step) if self.best_step is not None else len(last)
        return 0 < self.patience <= since

    def add(self, step: int, loss: float, net: torch.nn.Module) -> None:
        """Note a check; keep a copy of the network where it is the lowest so far."""
        self.seen.append((step, loss))
        if self.best_step == step:
            self.best = {k: v.detach().to("cpu", copy=True) for k, v in net.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seen": self.seen, "best": self.best}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.seen = [(int(step), float(loss)) for step, loss in state.get("seen", [])]
        best = state.get("best")
        self.best = {k: v.cpu() for k, v in best.items()} if best else None


def key_of(settings: BaseModel, later: Sequence[str]) -> str:
    """Settings as text, without those of `later` that are at their default.

    Settings that came after the first release are named in `later`, so that adding one does not
    disown every checkpoint.
    """
    fields = type(settings).model_fields
    unset = {name for name in later if getattr(settings, name) == fields[name].default}
    return settings.model_dump_json(exclude=unset)


def digest(
    pictures: list[Picture], bands: tuple[str, ...], start: SiteNet | None, val: list[Picture] | None = None
) -> str:
    """Content hash of all that a training learns from, starts from and is checked on."""
    found = hashlib.sha256(repr(bands).encode())
    for tensor in start.state_dict().values() if start is not None else ():
        found.update(tensor.cpu().numpy().tobytes())
    for p in pictures:
        _add(found, p)
    if val is not None:
        found.update(b"validation")
        for p in val:
            _add(found, p)
    return found.hexdigest()


def _add(found: hashlib._Hash, p: Picture) -> None:
    found.update(repr((p.name, p.weight, p.optical.shape)).encode())
    for layer in (p.optical, p.valid, p.building, p.cooling):
        found.update(np.ascontiguousarray(layer).tobytes())
    # what came later counts only where it is set, so that older checkpoints stay valid
    for name, later in (("instance", p.instance), ("unit", p.unit), ("thermal", p.thermal)):
        if later is not None:
            found.update(repr((name, later.shape)).encode() + np.ascontiguousarray(later).tobytes())
    if (p.gsd_m, p.scale) != (USUAL_GSD_M, None):
        found.update(repr((p.gsd_m, p.scale)).encode())


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        state["settings"], state["step"], state["net"]
    except Exception as error:  # torch raises whatever damaged bytes happen to trigger
        raise ConfigError(f"{path}: not a readable checkpoint; remove it to train from the start") from error
    return state


def read(path: Path, device: torch.device, key: str, data: str) -> dict[str, Any]:
    """Read a checkpoint that was written with the same settings (`key`) and data.

    Raises:
        ConfigError: damaged, or of other settings, pictures, bands or start.
    """
    state = _load(path, device)
    if state["settings"] != key:
        raise ConfigError(f"{path}: checkpoint of other settings; remove it or use another folder")
    if state.get("data", data) != data:
        raise ConfigError(f"{path}: checkpoint of other pictures, bands or start; remove it or use another folder")
    return state


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it: a kill leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)

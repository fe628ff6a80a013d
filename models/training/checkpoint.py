"""The checkpoint of a training: its inputs, its progress, and its loss curve.

In: the state of a training. Out: a file from which a stopped training resumes, and the loss curve in it.
A checkpoint is valid only for the settings, pictures, bands and start network that it was made with.
Although it is our own file, it is read with torch's restricted loader (`weights_only`), so no code in it can run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.output import written
from overwatt.models.detector.network import SiteNet
from overwatt.models.training.samples import Picture

USUAL_GSD_M = 2.0  # the default of Picture.gsd_m


@dataclass(frozen=True)
class Curve:
    """Loss curve of a training.

    Attributes:
        losses: (step, training loss), each step once, also after resumes.
        checks: (step, validation loss) of each check.
        best_step: step with the lowest validation loss; None without validation pictures.
        stopped: whether it stopped early because the validation loss did not decrease.
    """

    losses: tuple[tuple[int, float], ...]
    checks: tuple[tuple[int, float], ...]
    best_step: int | None
    stopped: bool


def curve(path: Path) -> Curve:
    """Read the loss curve from a checkpoint.

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
    """Early stopping: the validation losses so far and the network state of the lowest.

    Args:
        patience: number of consecutive checks without a lower loss after which training stops; 0: never.
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
        """Whether `patience` checks have passed without a lower loss."""
        last = [step for step, _ in self.seen]
        # checks after the best one; all checks if no loss was finite
        since = len(last) - 1 - last.index(self.best_step) if self.best_step is not None else len(last)
        return 0 < self.patience <= since

    def add(self, step: int, loss: float, net: torch.nn.Module) -> None:
        """Store the result of a check; keep a copy of the network if its loss is the lowest so far."""
        self.seen.append((step, loss))
        if self.best_step == step:
            self.best = {k: v.detach().to("cpu", copy=True) for k, v in net.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """State to store in a checkpoint."""
        return {"seen": self.seen, "best": self.best}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.seen = [(int(step), float(loss)) for step, loss in state.get("seen", [])]
        best = state.get("best")
        self.best = {k: v.cpu() for k, v in best.items()} if best else None


def key_of(settings: BaseModel, later: Sequence[str]) -> str:
    """Return the settings as text, without those of `later` that have their default value.

    `later` names the settings added after the first release: adding one then does not invalidate existing
    checkpoints.
    """
    fields = type(settings).model_fields
    unset = {name for name in later if getattr(settings, name) == fields[name].default}
    return settings.model_dump_json(exclude=unset)


def digest(
    pictures: list[Picture], bands: tuple[str, ...], start: SiteNet | None, val: list[Picture] | None = None
) -> str:
    """Content hash (SHA-256) of training pictures, bands, start network and validation pictures."""
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
    # fields added later are hashed only if set, so that older checkpoints stay valid
    for name, later in (("instance", p.instance), ("unit", p.unit), ("thermal", p.thermal)):
        if later is not None:
            found.update(repr((name, later.shape)).encode() + np.ascontiguousarray(later).tobytes())
    if (p.gsd_m, p.scale) != (USUAL_GSD_M, None):
        found.update(repr((p.gsd_m, p.scale)).encode())


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        state["settings"], state["step"], state["net"]  # raises KeyError if it is not a checkpoint of ours
    except Exception as error:  # damaged bytes can raise any exception in torch.load
        raise ConfigError(f"{path}: not a readable checkpoint; remove it to train from the start") from error
    return state


def read(path: Path, device: torch.device, key: str, data: str) -> dict[str, Any]:
    """Read a checkpoint that was written with the same settings (`key`) and inputs (`data`, see `digest`).

    Raises:
        ConfigError: damaged, or made with other settings, pictures, bands or start network.
    """
    state = _load(path, device)
    if state["settings"] != key:
        raise ConfigError(f"{path}: checkpoint of other settings; remove it or use another folder")
    if state.get("data", data) != data:
        raise ConfigError(f"{path}: checkpoint of other pictures, bands or start; remove it or use another folder")
    return state


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it: if the process is killed, the old one remains."""
    # through memory: torch hides the system's error if it writes the file itself
    content = io.BytesIO()
    torch.save(state, content)
    with written(path) as part:
        part.write_bytes(content.getbuffer())

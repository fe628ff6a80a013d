"""Training loop: from labelled pictures to weights, reproducible from a seed, resumable.

In: pictures and settings. Out: a trained network. Batches depend only on (seed, step), and the checkpoint holds
everything else (weights, optimiser, loss scale, loss curve, best state so far). A training that was stopped and
resumed therefore has the same loss curve, stops at the same step and gives the same weights as an uninterrupted one:
bit for bit on the same CPU with the same number of threads, nearly so on a GPU, where some gradients have no
deterministic kernel. `overwatt.models.training.checkpoint` reads and writes the file.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.network import SiteNet, adopt, blend, load_imagenet
from overwatt.models.training import checkpoint as checkpoints
from overwatt.models.training.checkpoint import Checks
from overwatt.models.training.loss import loss_of, machine_loss, unit_loss
from overwatt.models.training.runtime import Log, deterministic, device_of, half_of, scalars
from overwatt.models.training.samples import Augmentation, Batch, Picture, batch
from overwatt.models.training.settings import LATER, TrainSettings

Report = Callable[[int, int, float], None]  # step, steps, loss
MAX_NORM = 5.0  # norm to which gradients are clipped; own choice, seldom reached after the first steps
NEAR = {"all": 0.0, "units": 0.9, "machines": 0.5}
"""Share of the crops that are centred on machines, by what is learned (own choices)."""
WARM_STEPS = 20  # linear warm-up: Adam's moment estimates are noisy in the first steps (own choice)
UNCHANGED = Augmentation(
    scale=(1, 1), gain=(1, 1), gamma=(1, 1), cast=0, saturation=(1, 1), clip=(1, 1), haze=0, blur_px=0, sharpen=0,
    noise=0, soft=(0, 1), jpeg=0, patches=0, colours=0, spectrum=0, heat=(1, 1), heat_noise_k=0, no_heat=0,
)  # fmt: skip
"""For validation: crops are rotated and flipped, but not scaled, and their radiometry is unchanged."""
FINE = Augmentation(soft=(0.1, 1.3), blur_px=0.8)
"""For the branches: less blur, since machines that are not resolved cannot be learned."""


@dataclass(frozen=True)
class _Task:
    """Inputs of a training."""

    pictures: list[Picture]
    bands: tuple[str, ...]
    settings: TrainSettings
    start: SiteNet | None
    val: list[Picture] | None
    device: torch.device

    def check(self) -> None:
        """Raise a `ConfigError` if pictures, bands and settings do not fit together."""
        s = self.settings
        for what, values in (("mean", s.mean), ("std", s.std)):
            if len(values) != len(self.bands):
                names = ", ".join(self.bands)
                raise ConfigError(f"training: {len(values)} values of {what} for {len(self.bands)} bands ({names})")
        for role, pictures in (("training", self.pictures), ("validation", self.val)):
            if pictures is not None and not pictures:
                raise ConfigError(f"{role}: no pictures to {'learn from' if role == 'training' else 'check on'}")
            for p in pictures or ():
                bands = len(p.optical) + (0 if p.thermal is None else len(p.thermal))
                if bands != len(self.bands):
                    raise ConfigError(f"{role}: picture '{p.name}' has {bands} bands, not {len(self.bands)}")
        if s.patience and self.val is None:
            raise ConfigError(f"training: patience {s.patience} needs validation pictures; add some or set it to 0")

    def draw(self, number: int) -> Batch:
        """Draw batch `number` of the training; step s uses numbers s * accumulate, s * accumulate + 1, …"""
        return self._draw(self.pictures, number, FINE if self.settings.learn != "all" else Augmentation())

    def fixed(self) -> list[Batch]:
        """Draw the validation batches, the same in each check: numbers 0, 1, … of the same seed."""
        count = math.ceil(self.settings.val_crops / self.settings.batch)
        return [self._draw(self.val, k, UNCHANGED) for k in range(count)] if self.val else []

    def _draw(self, pictures: list[Picture], number: int, augmentation: Augmentation) -> Batch:
        s = self.settings
        return batch(
            pictures, seed=s.seed, step=number, size=s.batch, size_px=s.crop_px,
            mean=s.mean, std=s.std, augmentation=augmentation, equipment=NEAR[s.learn],
        )  # fmt: skip


def train(
    pictures: list[Picture],
    bands: tuple[str, ...],
    settings: TrainSettings,
    *,
    start: SiteNet | None = None,
    checkpoint: Path | None = None,
    report: Report | None = None,
    save_every_s: float = 60.0,
    stop_after: int | None = None,
    val: list[Picture] | None = None,
    log_dir: Path | None = None,
    device: str = "auto",
) -> SiteNet:
    """Train a network.

    Args:
        pictures: training pictures.
        bands: their band names, in order.
        settings: seed, steps, learning rates and so on.
        start: network to start from, instead of ImageNet or random weights.
        checkpoint: file to resume from and to save to; the caller removes it at the end. It is valid only for the
            settings, bands, pictures and start network that it was made with, and holds the loss curve
            (`overwatt.models.training.checkpoint.curve`).
        report: called after each step with step, steps and loss.
        save_every_s: seconds between checkpoints.
        stop_after: stop after this step as if interrupted, and leave the checkpoint.
        val: validation pictures, from other places than the training pictures. With them the state of the lowest
            validation loss is returned, and `patience` may stop the training early.
        log_dir: folder for TensorBoard logs; a resumed training continues them and repeats no step.
        device: 'cpu', 'cuda' or 'auto' (CUDA if available).

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ConfigError: no pictures, a wrong number of bands in a picture or in the normalisation, patience without
            validation pictures, no such device, TensorBoard not installed, or a checkpoint that is damaged or of
            other settings or pictures.
    """
    task = _Task(pictures, bands, settings, start, val, device_of(device))
    task.check()
    with (
        deterministic(settings.seed, settings.threads),
        ThreadPoolExecutor(1) as ahead,
        contextlib.ExitStack() as stack,
    ):
        run = _Run(task)
        key = data = ""
        if checkpoint:
            key = checkpoints.key_of(settings, LATER)
            data = checkpoints.digest(pictures, bands, start, val)
            if checkpoint.is_file():
                run.load(checkpoints.read(checkpoint, task.device, key, data))
        log = stack.enter_context(scalars(log_dir, run.step))
        save = partial(_save, checkpoint, run, {"settings": key, "data": data})
        batches = _ahead(ahead, task.draw, run.step * settings.accumulate)
        saved = time.monotonic()
        while run.step < settings.steps and not run.checks.stop:
            run.learn(batches, log)
            if report:
                report(run.step, settings.steps, run.history[-1][1])
            if run.step == settings.steps or run.step == stop_after or run.checks.stop:
                break
            if time.monotonic() - saved > save_every_s:
                save()
                saved = time.monotonic()
        save()
        if run.checks.best is not None and (run.step == settings.steps or run.checks.stop):
            run.net.load_state_dict(run.checks.best)
        net = run.net.eval().to("cpu")
        if start is not None and settings.keep_start:
            blend(net, start, settings.keep_start)
        return net


class _Run:
    """A training in progress: the state that a checkpoint holds, and one training step."""

    def __init__(self, task: _Task) -> None:
        self.settings, self.device = task.settings, task.device
        s = self.settings
        self.half = half_of(s.precision, self.device)
        start = task.start
        counting = s.learn == "units" or (start is not None and start.counter is not None)
        machines = s.learn == "machines" or (start is not None and start.machines is not None)
        net = SiteNet(len(task.bands), s.width, counting=counting, machines=machines)
        if task.start is not None:
            adopt(net, task.start)
        elif s.imagenet:
            load_imagenet(net, task.bands)
        self.net = net.to(self.device).to(memory_format=torch.channels_last)
        branches = {"units": net.counter, "machines": net.machines}
        self.branch = branches.get(s.learn)
        own = {id(p) for p in self.branch.parameters()} if self.branch is not None else set()
        others = {id(p) for b in branches.values() if b is not None for p in b.parameters()}
        encoder = {id(p) for p in net.encoder_parameters()}
        rest = [p for p in net.parameters() if id(p) not in encoder]
        given = s.imagenet or task.start is not None
        self.frozen = given and s.encoder_rate == 0
        for p in net.parameters():
            still = self.frozen and id(p) in encoder
            # either one branch alone is trained, or everything but the branches and a frozen encoder
            p.requires_grad_(id(p) in own if self.branch is not None else id(p) not in others and not still)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": net.encoder_parameters(), "peak": s.rate * (s.encoder_rate if given else 1.0)},
                {"params": rest, "peak": s.rate},
            ],
            lr=s.rate,
            weight_decay=s.decay,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)
        self.step = 0
        self.history: list[tuple[int, float]] = []
        self.checks = Checks(s.patience)
        self.fixed = task.fixed()
        self.learning()

    def learning(self) -> None:
        """Set training mode; frozen parts stay in evaluation mode and keep their batch statistics."""
        self.net.train()
        if self.branch is not None:
            self.net.eval()
            self.branch.train()
            return
        for branch in (self.net.counter, self.net.machines):
            if branch is not None:
                branch.eval()
        if self.frozen:
            self.net.stem.eval()
            self.net.blocks.eval()

    def state(self) -> dict[str, Any]:
        """Return the state to store in a checkpoint."""
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "checks": self.checks.state(),
            "stopped": self.checks.stop,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.step = state["step"]
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.history = [(int(step), float(loss)) for step, loss in state.get("history", [])]
        self.checks.load(state.get("checks", {}))

    def loss(self, b: Batch) -> torch.Tensor:
        """Return the loss of one batch; the network runs in half precision if set, the loss in float32."""
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            if self.settings.learn == "all":
                return loss_of(self.net(b.image).float(), b)
            if self.settings.learn == "units":
                assert self.net.counter is not None
                return unit_loss(self.net.counter(b.image).float(), b)
            with torch.no_grad():  # nothing below the branch learns
                finest = self.net.forward_with_features(b.image)[2]
            return machine_loss(self.net.machine_logits(b.image, finest).float(), b)

    def learn(self, batches: Iterator[Batch], log: Log) -> None:
        """Do one training step, store its loss, and validate if a check is due."""
        s = self.settings
        # linear warm-up, then cosine decay to 0 (Loshchilov and Hutter 2017, SGDR, without restarts)
        factor = min(1.0, (self.step + 1) / WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * self.step / s.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for _ in range(s.accumulate):
            loss = self.loss(next(batches).to(self.device)) / s.accumulate
            torch.autograd.backward(self.scaler.scale(loss))
            total += float(loss.detach())
        # undo the loss scale before clipping, so that MAX_NORM has the unit of the gradients
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), MAX_NORM)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self.history.append((self.step, total))
        log("loss/training", total, self.step)
        log("rate", s.rate * factor, self.step)
        log("gradient norm", float(norm), self.step)
        if self.fixed and (self.step % s.check_every == 0 or self.step == s.steps):
            found = self.validation_loss()
            self.checks.add(self.step, found, self.net)
            log("loss/validation", found, self.step)

    def validation_loss(self) -> float:
        """Return the mean loss of the validation batches, with the network in evaluation mode."""
        self.net.eval()
        with torch.inference_mode():
            losses = [float(self.loss(b.to(self.device))) for b in self.fixed]
        self.learning()
        return math.fsum(losses) / len(losses)


def _ahead(pool: ThreadPoolExecutor, draw: Callable[[int], Batch], first: int) -> Iterator[Batch]:
    """Yield batches from number `first` on; the next one is drawn in a thread while the current one is used."""
    upcoming = pool.submit(draw, first)
    while True:
        current, first = upcoming.result(), first + 1
        upcoming = pool.submit(draw, first)
        yield current


def _save(path: Path | None, run: _Run, belongs: dict[str, str]) -> None:
    if path:
        checkpoints.write(path, belongs | run.state())

"""What the network is trained against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from overwatt.models.training.samples import IGNORE, NOT_CENTER, Batch

_CLASS_WEIGHT = (0.7, 1.2, 1.2)
_SMOOTH_PX = 50.0
_COOLING = 1.5


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy and soft Dice on the building classes; binary cross entropy and soft Dice on the sigmoids.

    Args:
        logits: (n, output, y, x) in the order of `overwatt.models.detector.network.OUTPUTS`.
        batch: its targets; 255 is unknown.

    Returns:
        A scalar; zero and without gradient where nothing is known.
    """
    building = batch.building
    known = building < NOT_CENTER
    ce = logits.sum() * 0  # the mean over no pixel is NaN, and would spoil every weight
    if known.any():
        weight = torch.tensor(_CLASS_WEIGHT, device=logits.device)
        ce = F.cross_entropy(logits[:, :3], building.where(known, IGNORE), weight=weight, ignore_index=IGNORE)
    p = logits[:, :3].softmax(1)
    never = building == NOT_CENTER
    if never.any():
        ce = ce - (1 - p[:, 2]).clamp(min=1e-4).log()[never].mean()
    dice = logits.new_zeros(())
    for label in (1, 2):
        dice = dice + _dice(p[:, label], building == label, known)
    total = ce + 0.5 * dice + _COOLING * _yes_or_no(logits[:, 3], batch.cooling, positive=4.0)
    if logits.shape[1] > 4:
        total = total + 0.5 * _yes_or_no(logits[:, 4], batch.interior, positive=1.0)
        total = total + 0.5 * _yes_or_no(logits[:, 5], batch.unit, positive=2.0)
    return total


def unit_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Loss of the branch that counts machines: logits (n, 1, y, x) against the batch's units."""
    return _yes_or_no(logits[:, 0], batch.unit, positive=3.0)


def _dice(guess: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    truth, guess = (truth & known).float(), guess * known
    return 1 - (2 * (truth * guess).sum() + _SMOOTH_PX) / (truth.sum() + guess.sum() + _SMOOTH_PX)


def _yes_or_no(logit: Tensor, target: Tensor, positive: float) -> Tensor:
    """Binary cross entropy, positives weighted, and half the soft Dice, over what is known."""
    known, yes = target != IGNORE, (target == 1).float()
    bce = F.binary_cross_entropy_with_logits(logit, yes, weight=1 + (positive - 1) * yes, reduction="none")
    return (bce * known).sum() / known.sum().clamp(min=1) + 0.5 * _dice(logit.sigmoid(), target == 1, known)

"""Loss of the detector network.

In: logits and a batch of targets in which 255 is unknown. Out: a scalar. Cross entropy gives stable gradients, soft
Dice (Milletari et al. 2016, V-Net) balances the rare classes; both are summed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from overwatt.models.detector.card import BASE_OUTPUTS
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.training.samples import IGNORE, NOT_CENTER, Batch

# own choices
_CLASS_WEIGHT = (0.7, 1.2, 1.2)  # background, other building, data center: background is far more frequent
_SMOOTH_PX = 50.0  # added to both parts of Dice: a class neither labelled nor predicted costs 0, not 1
_COOLING = 1.5  # weight of equipment, the smallest objects
# weight of positives in the branch for machines: at 6 a third of the machines that stand out most were below even odds
_MACHINE = 14.0
_KIND = 0.3  # weight of the kind of machines; it is known on few pixels


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss: cross entropy and soft Dice of the building classes, binary ones of the sigmoid outputs.

    Args:
        logits: (n, output, y, x) in the order of `overwatt.models.detector.network.OUTPUTS`.
        batch: its targets; 255 is unknown, 254 is known only not to be a data center.

    Returns:
        A scalar; zero, without gradient, if nothing is known.
    """
    building = batch.building
    known = building < NOT_CENTER
    ce = logits.sum() * 0  # the mean over no pixel is NaN, which would make all weights NaN
    if known.any():
        weight = torch.tensor(_CLASS_WEIGHT, device=logits.device)
        ce = F.cross_entropy(logits[:, :3], building.where(known, IGNORE), weight=weight, ignore_index=IGNORE)
    p = logits[:, :3].softmax(1)
    never = building == NOT_CENTER
    if never.any():
        # pixels known only not to be a data center: -ln(1 - p), limited to p < 0.9999
        ce = ce - (1 - p[:, 2]).clamp(min=1e-4).log()[never].mean()
    dice = logits.new_zeros(())
    for label in (1, 2):
        dice = dice + _dice(p[:, label], building == label, known)
    total = ce + 0.5 * dice + _COOLING * _yes_or_no(logits[:, 3], batch.cooling, positive=4.0)
    if logits.shape[1] > 4:
        total = total + 0.5 * _yes_or_no(logits[:, 4], batch.interior, positive=1.0)
        total = total + 0.5 * _yes_or_no(logits[:, 5], batch.unit, positive=2.0)
    if logits.shape[1] > len(BASE_OUTPUTS):
        first, last = len(BASE_OUTPUTS), len(BASE_OUTPUTS) + len(MACHINE_KINDS)
        total = total + _KIND * _kinds(logits[:, first:last], batch.kind)
        total = total + 0.5 * _yes_or_no(logits[:, last], batch.substation, positive=2.0)
    return total


def _kinds(logits: Tensor, kind: Tensor) -> Tensor:
    """Cross entropy of the kinds of machines, zero where none is known.

    Each kind that occurs weighs the same: by pixels, rows of chillers would outweigh all others.
    """
    count = torch.bincount(kind[kind != IGNORE], minlength=logits.shape[1]).float()
    if not count.any():
        return logits.sum() * 0
    weight = torch.where(count > 0, 1 / count.clamp(min=1), 0.0)
    return F.cross_entropy(logits, kind, weight=weight, ignore_index=IGNORE)


def machine_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss of the branch for machines, from logits (n, output, y, x) in the order of `MACHINE_OUTPUTS`."""
    return _yes_or_no(logits[:, 0], batch.cooling, positive=_MACHINE) + _kinds(logits[:, 1:], batch.kind)


def unit_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss of the branch that counts machines, from logits (n, 1, y, x) and the batch's unit masks."""
    return _yes_or_no(logits[:, 0], batch.unit, positive=3.0)


def _dice(guess: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    # 1 - (2 |A n B| + s) / (|A| + |B| + s) with probabilities as soft memberships
    truth, guess = (truth & known).float(), guess * known
    return 1 - (2 * (truth * guess).sum() + _SMOOTH_PX) / (truth.sum() + guess.sum() + _SMOOTH_PX)


def _yes_or_no(logit: Tensor, target: Tensor, positive: float) -> Tensor:
    """Binary cross entropy with weight `positive` on positives, plus half the soft Dice, over known pixels."""
    known, yes = target != IGNORE, (target == 1).float()
    bce = F.binary_cross_entropy_with_logits(logit, yes, weight=1 + (positive - 1) * yes, reduction="none")
    return (bce * known).sum() / known.sum().clamp(min=1) + 0.5 * _dice(logit.sigmoid(), target == 1, known)

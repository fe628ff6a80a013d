"""What the network is trained against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.samples import IGNORE, Batch


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Cross entropy and soft Dice on the building classes, weighted binary cross entropy on equipment.

    Args:
        logits: (n, 4, y, x).
        batch: its targets; 255 is unknown.

    Returns:
        A scalar; zero and without gradient where nothing is known.
    """
    building, cooling = batch.building, batch.cooling
    weight = torch.tensor([0.7, 1.2, 1.2], device=logits.device)
    known = building != IGNORE
    ce = logits.sum() * 0  # the mean over no pixel is NaN, and would spoil every weight
    if known.any():
        ce = F.cross_entropy(logits[:, :3], building, weight=weight, ignore_index=IGNORE)
    p = logits[:, :3].softmax(1)
    dice = logits.new_zeros(())
    for label in (1, 2):
        truth = ((building == label) & known).float()
        guess = p[:, label] * known
        dice = dice + 1 - (2 * (truth * guess).sum() + 50) / (truth.sum() + guess.sum() + 50)
    seen = cooling != IGNORE
    target = (cooling == 1).float()
    bce = F.binary_cross_entropy_with_logits(logits[:, 3], target, weight=1 + 3 * target, reduction="none")
    equipment = (bce * seen).sum() / seen.sum().clamp(min=1)
    guess = logits[:, 3].sigmoid() * seen
    dice_eq = 1 - (2 * (target * guess).sum() + 50) / ((target * seen).sum() + guess.sum() + 50)
    return ce + 0.5 * dice + equipment + 0.5 * dice_eq

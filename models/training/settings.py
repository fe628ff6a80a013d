"""Settings of one training, as a training file states them; no torch here, so that settings can be read without it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LATER = ("learn", "keep_start", "encoder_rate", "accumulate", "patience", "check_every", "val_crops")
"""Settings added after the first release; see `checkpoint.key_of`."""


class TrainSettings(BaseModel):
    """Settings of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learn: Literal["all", "units", "machines"] = Field(
        default="all",
        description="all: everything but the branches; units: only the branch that counts machines; machines: only the "
        "branch that outlines and tells them",
    )
    seed: int = Field(default=0, ge=0, description="seed of all random numbers")
    steps: int = Field(default=400, ge=1, description="maximum number of optimiser steps")
    batch: int = Field(default=8, ge=1, description="crops per batch")
    crop_px: int = Field(default=256, ge=64, multiple_of=32, description="side of a crop, pixels")
    width: int = Field(default=16, ge=4, le=64, description="channels of the finest decoder stage")
    rate: float = Field(default=1e-3, gt=0, description="peak learning rate of the decoder")
    encoder_rate: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="learning rate of the encoder relative to the decoder, if it starts from given weights; 0 freezes "
        "it, batch norm included: features learned from photographs transfer from simulated to real scenes",
    )
    keep_start: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of the starting weights in the result, which is the weighted mean of both (Wortsman et al. "
        "2022, arXiv 2109.01903): it keeps what the start knew of other places",
    )
    decay: float = Field(default=0.02, ge=0, description="weight decay")
    imagenet: bool = Field(default=True, description="start the encoder from ImageNet weights")
    # mean and standard deviation of ImageNet pictures, the input scale of the pretrained encoder
    mean: tuple[float, ...] = Field(default=(0.485, 0.456, 0.406), description="mean of each band, of values 0 to 1")
    std: tuple[float, ...] = Field(default=(0.229, 0.224, 0.225), description="standard deviation of each band")
    threads: int = Field(default=1, ge=1, description="CPU threads; a setting, because the exact result depends on it")
    precision: str = Field(
        default="auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="auto: bfloat16 if the CPU or GPU supports it, else float16 with a gradient scaler on a GPU "
        "and float32 on a CPU",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="batches whose gradients are summed for one step; batch norm uses each batch separately, so "
        "this is not the same as a larger batch",
    )
    patience: int = Field(
        default=0, ge=0, description="stop after this many checks without a lower validation loss; 0: never"
    )
    check_every: int = Field(default=50, ge=1, description="steps between checks with the validation pictures")
    val_crops: int = Field(default=32, ge=1, description="number of validation crops, rounded up to whole batches")

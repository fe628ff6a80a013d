"""The training file of `overwatt train`: what to train on, and how.

In: YAML. Out: frozen settings; unknown keys are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from overwatt.models.training.settings import TrainSettings
from overwatt.workflows.config.yaml import expanded_path


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PictureSettings(_Frozen):
    """A real picture with outlines drawn by hand."""

    name: str = Field(description="name of the picture, for messages and the model card")
    image: str = Field(description="path, relative to this file")
    outlines: str = Field(description="GeoJSON; class data_center, other_building, cooling_equipment or unknown")
    scored_against: str | None = Field(default=None, description="labels drawn by others, used only for scores")
    licence: str = Field(description="licence of the picture, for the model card")
    weight: float = Field(default=1.0, gt=0, description="how often it is sampled, relative to the other pictures")
    scale: tuple[float, float] | None = Field(default=None, description="range of the random change of apparent size")


class SimulatedSettings(_Frozen):
    """Simulated scenes."""

    tiles: int = Field(
        default=160, ge=0, description="number of scenes to train on; none where the group `simulated` is left out"
    )
    held_out: int = Field(default=0, ge=0, description="additional scenes that only the calibration is fitted on")
    size_px: int = Field(default=512, ge=64, description="side of a scene in pixels")
    gsds_m: tuple[float, ...] = Field(
        default=(2.0,), min_length=1, description="metres per pixel; scene i takes entry i, cyclically"
    )
    seed: int = Field(default=0, description="seed of the first scene; scene i takes seed + i")
    weight: float = Field(default=1.0, gt=0, description="weight of all simulated scenes together")
    scale: tuple[float, float] = Field(default=(0.75, 1.33), description="range of the random change of apparent size")
    psfs_m: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(),
        description="adds a band of thermal excess; width of the point spread function in metres, scene i takes "
        "entry i, cyclically",
    )


class NegativeSettings(_Frozen):
    """Small real pictures without a data center, joined into square mosaics."""

    name: str = Field(description="name of the pictures, for messages and the model card")
    images: str = Field(description="folder with PNG, JPEG and TIFF files, relative to this file")
    gsd_m: float = Field(gt=0, description="metres per pixel of the pictures")
    licence: str = Field(description="licence of the pictures, for the model card")
    weight: float = Field(default=0.1, gt=0, description="how often they are sampled, relative to the other pictures")
    side: int = Field(default=3, ge=1, description="number of pictures along each side of a mosaic")
    average: int = Field(default=2, ge=1, le=8, description="side of the blocks of pixels that are averaged first")
    scale: tuple[float, float] = Field(default=(0.35, 0.9), description="range of the random change of apparent size")


class CanvasSettings(_Frozen):
    """Small real pictures without a data center, outlined completely, on which simulated sites are pasted."""

    name: str = Field(description="name of the pictures, for messages and the model card")
    images: str = Field(description="folder with the pictures, relative to this file")
    outlines: str = Field(description="JSON file with the outlines of each picture, in its pixels")
    licence: str = Field(description="licence of the pictures, for the model card")
    pasted: int = Field(default=200, ge=0, description="number of pictures made by pasting")
    seed: int = Field(default=0, ge=0, description="seed of the pasting; picture i takes seed and i")
    untouched: float = Field(
        default=0.4, ge=0, le=1, description="share of the weight that the pictures as they are get"
    )
    weight: float = Field(default=0.3, gt=0, description="how often all are sampled, relative to the other pictures")
    scale: tuple[float, float] = Field(default=(0.4, 1.3), description="range of the random change of apparent size")


class LandCoverSettings(_Frozen):
    """A real picture with a land-cover raster: open land is background, built-up land holds no data center."""

    name: str = Field(description="name of the picture, for messages and the model card")
    image: str = Field(description="path, relative to this file")
    land_cover: str = Field(description="raster of land-cover classes on the grid of the picture")
    built_up: tuple[int, ...] = Field(min_length=1, description="classes of the raster that contain buildings")
    data_centers: str | None = Field(
        default=None, description="vector file of known data centers; ground within `apart_m` of them is unknown"
    )
    apart_m: float = Field(default=300.0, ge=0, description="distance from a known data center, m")
    licence: str = Field(description="licence of the picture, for the model card")
    weight: float = Field(default=0.1, gt=0, description="how often it is sampled, relative to the other pictures")
    scale: tuple[float, float] = Field(default=(0.8, 1.25), description="range of the random change of apparent size")


class TileSettings(_Frozen):
    """Training tiles made by `overwatt tiles` or `overwatt training-set`."""

    index: str = Field(description="index of the tiles, relative to this file")
    split: Literal["train", "val", "test"] = Field(
        default="train", description="tiles of which split; val for `patience`"
    )
    weight: float = Field(default=1.0, gt=0, description="weight of all these tiles together")


class BranchSettings(_Frozen):
    """A branch for machines: trained after all else and alone, on simulated scenes and canvases with small pixels."""

    simulated: SimulatedSettings
    canvases: float = Field(default=0.0, ge=0, description="weight of all canvases together")
    untouched: float = Field(
        default=0.5, ge=0, le=1, description="share of that weight that the pictures as they are get"
    )
    gsds_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        default=(0.45, 0.72), description="range of metres per pixel that canvases are scaled to"
    )
    training: TrainSettings


class FoldSettings(_Frozen):
    """How a picture is cut into blocks for cross-validation."""

    blocks: int = Field(default=4, ge=2, description="number of blocks, and so of folds")
    guard_m: float = Field(default=40.0, ge=0, description="strip around a held-out block that is not trained on")
    seed: int = Field(default=0, description="seed of the cut")


class TrainingFile(_Frozen):
    """All settings of a training."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="name of the weights and of their file")
    version: str = Field(description="version of the weights, for their card")
    licence: str = Field(description="licence of the weights, for their card")
    gsd_m: float = Field(gt=0, description="metres per pixel that finer imagery is averaged to")
    gsd_range_m: tuple[float, float] = Field(description="metres per pixel of the imagery that is accepted")
    native_range_m: tuple[float, float] = Field(description="metres per pixel of imagery that keeps its own pixels")
    scoring: Literal["mean", "peak"] = Field(default="peak", description="how pixels become the score of an object")
    offset: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="log-odds above which scoring 'peak' calls a building a data center; 0: fitted to held-out ones",
    )
    bands: tuple[str, ...] = Field(default=("red", "green", "blue"), description="bands of the imagery, in this order")
    thermal_bands: tuple[str, ...] = Field(default=(), description="bands of thermal excess after those, kelvin")
    units: Literal["display_uint8"] = Field(default="display_uint8", description="unit of the bands")
    pictures: tuple[PictureSettings, ...] = Field(default=(), description="real pictures with outlines drawn by hand")
    simulated: SimulatedSettings = SimulatedSettings(tiles=0)
    negatives: tuple[NegativeSettings, ...] = Field(
        default=(), description="small real pictures without a data center, joined into square mosaics"
    )
    canvases: tuple[CanvasSettings, ...] = Field(
        default=(), description="outlined real pictures without a data center, on which simulated sites are pasted"
    )
    land_covers: tuple[LandCoverSettings, ...] = Field(
        default=(), description="real pictures with a land-cover raster: built-up land holds no data center"
    )
    tiles: tuple[TileSettings, ...] = Field(
        default=(), description="training tiles made by `overwatt tiles` or `overwatt training-set`"
    )
    start: str | None = Field(
        default=None, description="weights file to start from instead of ImageNet's; its width must be `training.width`"
    )
    start_folds: str | None = Field(
        default=None,
        description="output folder of an earlier `--folds spatial` with the same picture and folds: fold k starts from "
        "its fold k, so that no fold starts from weights that have seen its block",
    )
    training: TrainSettings = TrainSettings()
    pretraining: TrainSettings | None = Field(
        default=None, description="settings of a first stage on the simulated scenes only"
    )
    counting: BranchSettings | None = Field(
        default=None, description="a last stage that trains the branch that counts machines"
    )
    machines: BranchSettings | None = Field(
        default=None, description="a last stage that trains the branch that outlines and tells machines on any roof"
    )
    folds: FoldSettings = FoldSettings()
    limits: tuple[str, ...] = Field(default=(), description="known limits of the weights, for their card")

    @property
    def branches(self) -> dict[str, BranchSettings]:
        """The branches to train, in order."""
        return {k: v for k, v in (("counting", self.counting), ("machines", self.machines)) if v is not None}

    @model_validator(mode="after")
    def _stages(self) -> TrainingFile:
        for name, own in self.branches.items():
            learn = "units" if name == "counting" else name
            if own.training.learn != learn:
                raise ValueError(f"{name}.training: set `learn: {learn}`; this stage trains only that branch")
        stages = {f"{name}.training": own.training for name, own in self.branches.items()}
        for name, stage in ({"pretraining": self.pretraining} | stages).items():
            if stage is not None and stage.width != self.training.width:
                raise ValueError(
                    f"{name}.width is {stage.width}, but training.width is {self.training.width}; all stages train one "
                    "network"
                )
        return self


def resolve(text: str, base: Path) -> Path:
    """Return an absolute path; `text` may be absolute, or relative to `base`, the folder of the training file.

    `~`, `$NAME` and `${NAME}` are replaced by the environment's values.

    Raises:
        ConfigError: a variable is not set, or the text is no path.
    """
    if os.path.exists(base / text):
        return (base / text).resolve()
    return (base / expanded_path(text, f"training file: '{text}'")).resolve()

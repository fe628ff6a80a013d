"""The training file: what to learn from and how, as `overwatt train` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from overwatt.models.training.settings import TrainSettings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PictureSettings(_Frozen):
    """A real picture with outlines drawn by hand."""

    name: str
    image: str = Field(description="path, relative to this file")
    outlines: str = Field(description="GeoJSON with class data_center, other_building, cooling_equipment, unknown")
    scored_against: str | None = Field(default=None, description="independent labels; used for scores only")
    licence: str
    weight: float = Field(default=1.0, gt=0)
    scale: tuple[float, float] | None = Field(default=None, description="range of apparent size")


class SimulatedSettings(_Frozen):
    """Simulated scenes."""

    tiles: int = Field(default=160, ge=0)
    held_out: int = Field(default=0, ge=0, description="scenes more, that calibration is fitted on")
    size_px: int = Field(default=512, ge=64)
    gsds_m: tuple[float, ...] = Field(default=(2.0,), min_length=1, description="tile i has the i-th, in turn")
    seed: int = 0
    weight: float = Field(default=1.0, gt=0, description="of all simulated tiles together")
    scale: tuple[float, float] = Field(default=(0.75, 1.33), description="range of apparent size")
    psfs_m: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="also a thermal-excess band; tile i has the i-th point spread, in turn"
    )


class NegativeSettings(_Frozen):
    """Small real pictures without a data center, put together into mosaics."""

    name: str
    images: str = Field(description="folder, relative to this file; its PNG, JPEG and TIFF files")
    gsd_m: float = Field(gt=0)
    licence: str
    weight: float = Field(default=0.1, gt=0)
    side: int = Field(default=3, ge=1, description="pictures along a side of a mosaic")
    scale: tuple[float, float] = (0.35, 0.9)


class LandCoverSettings(_Frozen):
    """A real picture with a land-cover raster: open land is background, built-up land holds no data center."""

    name: str
    image: str = Field(description="path, relative to this file")
    land_cover: str = Field(description="raster of classes on the picture's own grid")
    built_up: tuple[int, ...] = Field(min_length=1, description="its classes with buildings")
    data_centers: str | None = Field(default=None, description="known ones; nothing is said within `apart_m` of them")
    apart_m: float = Field(default=300.0, ge=0)
    licence: str
    weight: float = Field(default=0.1, gt=0)
    scale: tuple[float, float] = (0.8, 1.25)


class TileSettings(_Frozen):
    """Training tiles of `overwatt tiles`."""

    index: str = Field(description="the index, relative to this file")
    split: Literal["train", "val", "test"] = "train"
    weight: float = Field(default=1.0, gt=0)


class CountingSettings(_Frozen):
    """The branch that counts machines: learned last and alone, from simulated scenes of fine pixels."""

    simulated: SimulatedSettings
    training: TrainSettings

    @field_validator("training")
    @classmethod
    def _units(cls, value: TrainSettings) -> TrainSettings:
        if value.learn != "units":
            raise ValueError("say learn: units; everything else stays as it was learned before")
        return value


class FoldSettings(_Frozen):
    """How pictures are cut into blocks for cross-validation."""

    blocks: int = Field(default=4, ge=2)
    guard_m: float = Field(default=40.0, ge=0, description="strip around a held-out block that is not trained on")
    seed: int = 0


class TrainingFile(_Frozen):
    """A training file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    version: str
    licence: str
    gsd_m: float = Field(gt=0)
    gsd_range_m: tuple[float, float]
    native_range_m: tuple[float, float]
    scoring: Literal["mean", "peak"] = "peak"
    bands: tuple[str, ...] = ("red", "green", "blue")
    thermal_bands: tuple[str, ...] = ()
    units: Literal["display_uint8"] = "display_uint8"
    pictures: tuple[PictureSettings, ...] = ()
    simulated: SimulatedSettings = SimulatedSettings(tiles=0)
    negatives: tuple[NegativeSettings, ...] = ()
    land_covers: tuple[LandCoverSettings, ...] = ()
    tiles: tuple[TileSettings, ...] = ()
    start: str | None = Field(default=None, description="weights to go on from, relative to this file")
    pretraining: TrainSettings | None = Field(default=None, description="a first round on the simulated tiles alone")
    training: TrainSettings = TrainSettings()
    counting: CountingSettings | None = Field(default=None, description="a last round for the counting of machines")
    folds: FoldSettings = FoldSettings()
    limits: tuple[str, ...] = Field(default=(), description="where not to use the weights, for their card")


def resolve(text: str, base: Path) -> Path:
    """Resolve a path of a training file: absolute, or relative to the file."""
    return (base / text).resolve()

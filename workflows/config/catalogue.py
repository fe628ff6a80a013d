"""Settings of imagery from a catalogue, kept separate because the key of a stored tile covers every imported module."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StacSettings(BaseModel):
    """Imagery from a STAC API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="URL of the API")
    collection: str = Field(description="collection to search")
    assets: tuple[str, ...] = Field(description="assets with the bands")
    datetime: str | None = Field(default=None, description="date range in STAC notation: 2021-01-01/2023-12-31")
    sign: Literal["none", "planetary_computer"] = Field(
        default="none", description="how URLs are signed when pixels are read"
    )
    max_cloud: float | None = Field(default=None, ge=0, le=100, description="maximum cloud cover of a scene, percent")

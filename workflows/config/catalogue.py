"""Settings of imagery from a catalogue; apart from the workflow file, so that a stored tile depends on no more."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StacSettings(BaseModel):
    """Imagery from a STAC API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="address of the API")
    collection: str = Field(description="collection to search")
    assets: tuple[str, ...] = Field(description="assets that hold the bands")
    datetime: str | None = Field(default=None, description="date range, as STAC writes it: 2021-01-01/2023-12-31")
    sign: Literal["none", "planetary_computer"] = Field(
        default="none", description="how addresses are signed at read time"
    )
    max_cloud: float | None = Field(default=None, ge=0, le=100, description="percent; scenes above are left out")

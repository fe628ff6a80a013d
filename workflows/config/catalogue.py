"""Settings of imagery from a catalogue, kept separate because the key of a stored tile covers every imported module."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class StacSettings(BaseModel):
    """Imagery from a STAC API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="URL of the API")
    collection: str = Field(description="collection to search")
    assets: tuple[str, ...] = Field(description="assets with the bands")
    datetime: str | None = Field(default=None, description="date range in STAC notation: 2021-01-01/2023-12-31")

    @field_validator("datetime", mode="before")
    @classmethod
    def _interval(cls, value: object) -> object:
        """Dates that YAML or Python parsed, and a list of two, in STAC notation."""
        if isinstance(value, list | tuple) and len(value) == 2:
            return "/".join(str(cls._interval(v)) for v in value)
        text = value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, int) else value
        # ISO 8601 allows a space before the time, RFC 3339 as used by STAC does not
        return re.sub(r"(\d{4}-\d{2}-\d{2}) (?=\d{2}:)", r"\1T", text) if isinstance(text, str) else value

    sign: Literal["none", "planetary_computer"] = Field(
        default="none", description="how URLs are signed when pixels are read"
    )
    max_cloud: float | None = Field(default=None, ge=0, le=100, description="maximum cloud cover of a scene, percent")

"""Settings of an assessment of finished tables, as the workflow file and `--set` give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from overwatt.pipeline.inspection.settings import InspectionSettings, ListSettings, RankingSettings
from overwatt.pipeline.inspection.value_of_information import Stakes
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.workflows.config.yaml import Places, apply_set, validate


class Assessment(BaseModel):
    """What an assessment assumes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    stakes: Stakes = Field(default_factory=Stakes)
    listing: ListSettings = Field(default_factory=ListSettings)
    ranking: RankingSettings = Field(default_factory=RankingSettings)
    inspection: InspectionSettings = Field(default_factory=InspectionSettings)


def assessment(assignments: Sequence[str] = (), own: dict[str, Any] | None = None) -> Assessment:
    """Return the settings `own`, or the defaults, with `key.sub=value` overrides such as reconcile.p_missed=0.35.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    places: Places = {}
    return validate(apply_set(own or {}, list(assignments), places), Assessment, "--set", places)

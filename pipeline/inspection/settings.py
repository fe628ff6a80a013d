"""What the list and an inspection plan assume; fields of the workflow file and of `--set`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class InspectionSettings(BaseModel):
    """Assumptions about the compute that a place could host, and about what imagery would have shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flop: float = Field(  # what imagery can check (docs/methods.md, section 5.2)
        default=1e26, gt=0, description="compute in question, FLOP in 90 days; a place that could host it has value 1"
    )
    found: float = Field(  # recall of comparable detectors, 0.87-0.95 (docs/methods.md, section 0, number 9)
        default=0.9, ge=0, le=1, description="probability that imagery shows a site in a screened cell"
    )
    year: int = Field(
        default=2026, ge=2020, le=2035, description="year of the chips at a place whose compute is in no table"
    )


class ListSettings(BaseModel):
    """From when on a site without a declaration is a question on the list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_false_share: float = Field(
        # 1 - 1 / stakes.find: at this share the finds of a list are worth just the visits to all of it
        default=0.95, ge=0, lt=1,
        description="largest expected share of false entries among the listed sites without a declaration",
    )  # fmt: skip

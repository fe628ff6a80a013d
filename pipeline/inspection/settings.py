"""What the list and an inspection plan assume; fields of the workflow file and of `--set`."""

from __future__ import annotations

from typing import Literal

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


class RankingSettings(BaseModel):
    """What orders the list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    by: Literal["expected", "worst_case", "p_over"] = Field(
        default="expected",
        description="expected: mean undeclared FLOP over the kinds of site; worst_case: the same if every site were "
        "all AI; p_over: probability of more than `flop`",
    )
    flop: float = Field(  # what imagery can check (docs/methods.md, section 5.2)
        default=1e26, gt=0, description="threshold of by: p_over, undeclared FLOP in 90 days"
    )

    @property
    def text(self) -> str:
        """The setting in the column `ranked_by` of a ledger."""
        return f"{self.by} {self.flop:g}" if self.by == "p_over" else self.by

    @classmethod
    def of(cls, text: object) -> RankingSettings:
        """Return the setting that a ledger's column `ranked_by` states; the default if it states none."""
        by, _, flop = str(text).partition(" ")
        try:
            return cls.model_validate({"by": by, **({"flop": flop} if flop else {})})
        except ValueError:  # a ledger of an earlier version, or not ours
            return cls()


class ListSettings(BaseModel):
    """From when on a site without a declaration is a question on the list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_false_share: float = Field(
        # 1 - 1 / stakes.find: at this share the finds of a list are worth just the visits to all of it
        default=0.95, ge=0, lt=1,
        description="largest expected share of false entries among the listed sites without a declaration",
    )  # fmt: skip

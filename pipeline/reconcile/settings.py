"""What the reconciliation assumes: priors, error models and limits, each with its reason.

Every default is a judgement; docs/methods.md, section 6.1, gives the background. All are fields of the workflow file
(`reconcile.p_missed`, ...) and of `overwatt reconcile --set`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MIN_MW = 0.1
"""Below any optical floor (docs/methods.md, section 5.3): keeps logarithms finite."""


class ReconcileSettings(BaseModel):
    """Priors and error models of the record linkage, and from when on something is a question."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_p_detect: float = Field(
        default=0.8, gt=0, le=1, description="not_seen needs at least this share of the place to have been imaged"
    )
    # positions
    gross_share: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of declared coordinates that are plainly wrong; empty: estimated from the two tables",
    )  # fmt: skip
    gross_error_m: float = Field(
        default=5000.0, gt=0, description="how far a plainly wrong coordinate is off, m (next town, wrong parcel)"
    )
    registration_m: float = Field(
        # NAIP: 6 m at 95% (USDA); other orthophotos about 10 m
        default=10.0, gt=0, description="position error of the imagery, 1 sigma, m",
    )  # fmt: skip
    position_z: float = Field(default=3.0, gt=0, description="how many stated sigma off make a position inconsistency")
    # what is missing on either side
    p_undeclared: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of data centers that are not in the registry; empty: estimated from the two tables",
    )  # fmt: skip
    p_missed: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of operating, imaged declarations that the detector does not find; empty: estimated from "
        "the two tables and `detector_recall`",
    )  # fmt: skip
    detector_recall: float = Field(
        # object recall of the bundled weights away from the training district (README, limits)
        default=0.65,
        gt=0,
        lt=1,
        description="the detector's own recall, the prior mean of 1 - `p_missed`",
    )
    detector_recall_n: float = Field(
        default=15.0, gt=0, description="weight of `detector_recall`, in declarations; own choice"
    )
    p_missed_not_operating: float = Field(
        default=0.7, gt=0, lt=1,
        description="the same for planned, closed or unfinished declarations, and those that start after the image",
    )  # fmt: skip
    whole_share: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of campuses of several sites that are declared as one; empty: estimated from the two tables",
    )  # fmt: skip
    split_share: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of campuses of one site that are declared in several parts; empty: estimated",
    )  # fmt: skip
    # labels
    name_agreement: float | None = Field(
        default=None, gt=0, lt=1,
        description="share of true pairs whose names agree, of those that agree or differ; empty: estimated from the "
        "two tables",
    )  # fmt: skip
    operator_agreement: float | None = Field(
        default=None, gt=0, lt=1, description="the same of operators; empty: estimated from the two tables"
    )
    # power
    declared_ln_sd: float = Field(
        default=0.15, gt=0, description="spread of a truthful declared MW about the capacity, ln (rounding, PUE)"
    )
    misdeclared_share: float = Field(
        default=0.1, gt=0, lt=1, description="share of declared MW that say little about the capacity"
    )
    misdeclared_ln_sd: float = Field(
        # 1.2 lets a threefold under-declaration at the right place still match
        default=1.2, gt=0, description="spread of such declarations, ln",
    )  # fmt: skip
    facility_per_it: float = Field(
        # median 1.30, range 1.17-1.52: Epoch AI's timelines (docs/methods.md, section 4.3)
        default=1.3, gt=0, description="facility MW per IT MW at peak",
    )  # fmt: skip
    facility_per_it_ln_sd: float = Field(default=0.1, gt=0, description="its spread, ln")
    power_z: float = Field(
        # two-sided 5%: of declarations that are true, at most 1 in 20 is questioned (benchmarks.questions)
        default=1.96,
        gt=0,
        description="how many sigma of ln(observed / declared) make a power inconsistency",
    )
    # uses
    contradicted_share: float = Field(
        default=0.05, gt=0, lt=1,
        description="share of declarations of true data centers whose stated use an image contradicts",
    )  # fmt: skip
    # spatial background
    neighbours: int = Field(
        default=5, gt=0, description="the site density about a place is that of this many neighbours"
    )
    min_density_km2: float = Field(
        # the US has about 1e-3 data centers per km2 of populated land
        default=1e-3, gt=0, description="least site density, per km2",
    )  # fmt: skip
    pair_density_km2: float = Field(
        # IM3 and OpenStreetMap, complete or thinned to 40%: beyond what the neighbours show, 0.03 to 0.06 / km^2 at any
        # distance from 0.25 to 5 km (docs/decisions/0016): data centers stand in groups, also where few were found
        default=0.04, ge=0, 
        description="density of further data centers 1 km from one, per km2; falls with the square of the distance",
    )  # fmt: skip


DEFAULTS = ReconcileSettings()

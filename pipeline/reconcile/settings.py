"""What the reconciliation assumes: priors, error models and limits, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from overwatt.aoi.errors import ConfigError

MIN_MW = 0.1
"""Below any optical floor (docs/methods.md, section 2): keeps logarithms finite."""


@dataclass(frozen=True)
class ReconcileSettings:
    """What the reconciliation assumes. Every default is a judgement with its reason.

    Attributes:
        min_p_data_center: a lone site enters the ledger from here on; below it may still match.
        min_p_detect: `not_seen` needs at least this share of the place to have been looked at.
        gross_share: share of coordinates that are plainly wrong. 6% of EPA's rows share a
            coordinate with another address; those that nobody notices come on top. Of 19 areas of
            the first simulator 0.1 named the declaration planted 2 km off in 8, 0.15 in 11.
        gross_error_m: how far a plainly wrong coordinate is off, m (next town, wrong parcel).
        registration_m: position error of the imagery, 1 sigma, m (NAIP 6 m at 95%; other 10 m).
        p_undeclared: prior share of data centers that are not in the registry.
        p_missed: prior share of operating, looked-at declarations that the detector does not
            find (sensitivity 0.87-0.95 for comparable detectors, docs/methods.md 0) or that are not there.
        p_missed_not_operating: the same for planned, closed or unfinished ones, and for those that
            start after the image.
        declared_ln_sd: spread of a truthful declared MW about the capacity, in ln (rounding, PUE).
        misdeclared_share: share of declared MW that say little about the capacity.
        misdeclared_ln_sd: their spread in ln: 1.2 lets a 3x under-declaration at the right place match.
        facility_per_it: facility MW per IT MW at peak (Epoch median 1.30, range 1.17-1.52).
        facility_per_it_ln_sd: its spread in ln, from that range.
        contradicted_share: share of declarations of true data centers whose stated use an image contradicts.
        power_z: how many sigma of ln(observed/declared) make a power inconsistency (one-sided 10%).
        position_z: how many stated sigma off make a position inconsistency.
        member_share: prior share of declarations that are a further part of a campus matched already.
        neighbours: the site density about a place is that of this many neighbours.
        min_density_km2: density where neighbours are far: the US has about 1e-3 data centers per km2
            of populated land; also keeps a lone pair from matching at any distance.
    """

    min_p_data_center: float = 0.5
    min_p_detect: float = 0.8
    gross_share: float = 0.15
    gross_error_m: float = 5000.0
    registration_m: float = 10.0
    p_undeclared: float = 0.05
    p_missed: float = 0.05
    p_missed_not_operating: float = 0.7
    declared_ln_sd: float = 0.15
    misdeclared_share: float = 0.1
    misdeclared_ln_sd: float = 1.2
    facility_per_it: float = 1.3
    facility_per_it_ln_sd: float = 0.1
    contradicted_share: float = 0.05
    power_z: float = 1.28
    position_z: float = 3.0
    member_share: float = 0.05
    neighbours: int = 5
    min_density_km2: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            share = name.startswith(("p_", "min_p_")) or name.endswith("_share")
            if not 0 < value < math.inf or (share and value >= 1 and not name.startswith("min_p_")):
                raise ConfigError(f"reconcile.{name} = {value}: must be {'a share in 0..1' if share else '> 0'}")


DEFAULTS = ReconcileSettings()

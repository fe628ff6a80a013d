"""Tables of facts: accelerators, cooling equipment, area priors and ratios, each row with its source.

In: the CSV files next to this module (package data). Out: frozen records, read once and cached.
The tables are files, so that a reader can check a number without reading code. Each row says whether its number was
found in a source, derived, recalled, or assumed by us. docs/methods.md says which formula uses which table. Rows naming
Epoch AI rest on its data (epoch.ai/data), CC-BY 4.0.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest

_T = TypeVar("_T")

H100_BF16_TFLOP_S = 989.5  # dense (no sparsity), H100 SXM; docs/methods.md, section 5.1
H100_FP8_TFLOP_S = 1979.0  # the same in FP8
FLEET_GROWTH = 1.4
FLEET_GROWTH_LN_SD = 0.20
"""Growth a year of H100 equivalents per MW past the table of fleets, and its ln-sd (docs/methods.md, section 5.1)."""
_OPERATOR_ALIASES = {"aws": "amazon", "alphabet": "google", "deepmind": "google"}


@dataclass(frozen=True)
class Accelerator:
    """An AI chip: a row of chips.csv, the one table of chips (docs/methods.md, section 5.1).

    Attributes:
        chip: name, as in Epoch AI's tables where it is there.
        aliases: further names.
        tdp_w: thermal design power, W.
        bf16_tflop_s, fp8_tflop_s, fp4_tflop_s: dense speed; BF16 or FP16; FP8, or INT8 where faster; None: not known.
        release_year: None if not known.
        w_it, w_it_ln_sd: IT power per chip at its design peak, W, with its share of host and network; its ln-sd.
        w_it_basis: measured (filing, maker's pod or rack), derived (power and chips of sites), estimate (ours), or law
            (`overwatt.models.capacity.chip_power`).
        peak_ratio: facility over IT power at peak where the sites of this chip show it, else None.
        source: where the numbers come from.
    """

    chip: str
    aliases: tuple[str, ...]
    tdp_w: float
    bf16_tflop_s: float | None
    fp8_tflop_s: float | None
    fp4_tflop_s: float | None
    release_year: int | None
    w_it: float
    w_it_ln_sd: float
    w_it_basis: str
    peak_ratio: float | None
    source: str

    @property
    def h100e(self) -> float:
        """H100 equivalents of one chip, dense BF16 basis; NaN where the 16-bit speed is not known."""
        return (self.bf16_tflop_s or np.nan) / H100_BF16_TFLOP_S

    @property
    def h100e_fp8(self) -> float:
        """H100 equivalents of one chip, dense 8-bit basis; its 16-bit speed counts if it has no 8-bit speed."""
        return (self.fp8_tflop_s or self.bf16_tflop_s or np.nan) / H100_FP8_TFLOP_S

    @property
    def h100e_per_it_mw(self) -> float:
        """H100 equivalents per megawatt of IT power, dense BF16 basis."""
        return self.h100e * 1e6 / self.w_it

    @property
    def h100e_fp8_per_it_mw(self) -> float:
        """H100 equivalents per megawatt of IT power, dense 8-bit basis."""
        return self.h100e_fp8 * 1e6 / self.w_it

    @property
    def facility_w(self) -> float:
        """Facility power per installed chip at peak, W: `w_it` with cooling and losses."""
        return self.w_it * (self.peak_ratio or ratio("facility_per_it").median)


@dataclass(frozen=True)
class UnitModel:
    """One model of a cooling machine: plan size and height in m, number of fans, capacity in kW.

    `machine` is chiller, tower (one cell), dry_cooler or air_handler. `fan_diameter_m` is None where it is not stated.
    """

    machine: str
    model: str
    length_m: float
    width_m: float
    height_m: float
    fans: int
    fan_diameter_m: float | None
    capacity_kw: float
    source: str


@dataclass(frozen=True)
class Law:
    """Capacity of equipment from one size: `coefficient_kw * size ** exponent`, with ln-sd.

    docs/methods.md, section 0. Laws of several inputs, with a covariance: `overwatt.models.capacity.equipment`.
    """

    law: str
    equipment: str
    size_unit: str
    coefficient_kw: float
    exponent: float
    ln_sd: float
    low_kw: float | None
    high_kw: float | None
    n: int | None
    r2: float | None
    source: str

    def capacity_kw(self, size: float) -> float:
        """Return the median capacity in kW for `size` in `size_unit`."""
        return float(self.coefficient_kw * size**self.exponent)


@dataclass(frozen=True)
class AreaPrior:
    """Facility power per m2 of footprint of one class of building, and its share of all buildings by year.

    docs/methods.md, section 4.1.
    """

    building_class: str
    kw_per_m2: float
    ln_sd: float
    storeys: float
    weight: Mapping[int, float]
    source: str


@dataclass(frozen=True)
class Ratio:
    """A dimensionless factor with its distribution.

    `lognormal` uses `median` and `ln_sd`. `one_plus_lognormal` is 1 plus a log-normal, so that it exceeds 1; its
    `median` includes the 1. `beta` uses `a` and `b`, scaled to `low`..`high` (0..1 where absent). `fixed` is `median`.
    `weight` is the share in the mixture of its `group`, where there is one.
    """

    name: str
    group: str
    distribution: str
    median: float
    ln_sd: float
    a: float
    b: float
    low: float | None
    high: float | None
    weight: float
    source: str

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Return random draws, shape (draw,), float64."""
        if self.distribution == "beta":
            low, high = self.low or 0.0, 1.0 if self.high is None else self.high
            return low + (high - low) * rng.beta(self.a, self.b, draws)
        if self.distribution == "lognormal":
            return self.median * np.exp(self.ln_sd * rng.standard_normal(draws))
        if self.distribution == "one_plus_lognormal":
            return 1.0 + (self.median - 1.0) * np.exp(self.ln_sd * rng.standard_normal(draws))
        return np.full(draws, self.median, dtype=np.float64)


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Return the chips by name."""

    def build(r: dict[str, str]) -> Accelerator:
        return Accelerator(
            chip=r["chip"],
            aliases=tuple(filter(None, r["aliases"].split(";"))),
            tdp_w=float(r["tdp_w"]),
            bf16_tflop_s=_optional(r["bf16_tflop_s"]),
            fp8_tflop_s=_optional(r["fp8_tflop_s"]),
            fp4_tflop_s=_optional(r["fp4_tflop_s"]),
            release_year=int(r["release_year"]) if r["release_year"] else None,
            w_it=float(r["w_it"]),
            w_it_ln_sd=float(r["w_it_ln_sd"]),
            w_it_basis=r["w_it_basis"],
            peak_ratio=_optional(r["peak_ratio"]),
            source=r["source"],
        )

    return _table("chips.csv", "chip", build)


@cache
def accelerator_aliases() -> Mapping[str, str]:
    """Return the further names of chips, in lower case, with their chip."""
    return MappingProxyType({a.lower(): c.chip for c in accelerators().values() for a in c.aliases})


def accelerator(chip: str) -> Accelerator:
    """Return one chip by a name of the table.

    Raises:
        ConfigError: the name is not in the table.
    """
    return _pick(accelerators(), accelerator_aliases().get(chip.lower(), chip), "accelerator")


@cache
def equipment() -> Mapping[str, Law]:
    """Return the one-input capacity laws of cooling equipment and of the generator by name."""

    def build(r: dict[str, str]) -> Law:
        return Law(
            law=r["law"],
            equipment=r["equipment"],
            size_unit=r["size_unit"],
            coefficient_kw=float(r["coefficient_kw"]),
            exponent=float(r["exponent"]),
            ln_sd=float(r["ln_sd"]),
            low_kw=_optional(r["low_kw"]),
            high_kw=_optional(r["high_kw"]),
            n=int(r["n"]) if r["n"] else None,
            r2=_optional(r["r2"]),
            source=r["source"],
        )

    return _table("equipment.csv", "law", build)


def law(name: str) -> Law:
    """Return one capacity law by name.

    Raises:
        ConfigError: the name is not in the table.
    """
    return _pick(equipment(), name, "equipment law")


@cache
def unit_models() -> Mapping[str, UnitModel]:
    """Return the models of cooling machines by name."""

    def build(r: dict[str, str]) -> UnitModel:
        return UnitModel(
            machine=r["machine"],
            model=r["model"],
            length_m=float(r["length_m"]),
            width_m=float(r["width_m"]),
            height_m=float(r["height_m"]),
            fans=int(r["fans"]),
            fan_diameter_m=_optional(r["fan_diameter_m"]),
            capacity_kw=float(r["capacity_kw"]),
            source=r["source"],
        )

    return _table("unit_models.csv", "model", build)


@cache
def area_priors() -> Mapping[str, AreaPrior]:
    """Return the power densities of building classes by name."""

    def build(r: dict[str, str]) -> AreaPrior:
        weight = {int(k.removeprefix("weight_")): float(v) for k, v in r.items() if k.startswith("weight_")}
        return AreaPrior(
            building_class=r["building_class"],
            kw_per_m2=float(r["kw_per_m2"]),
            ln_sd=float(r["ln_sd"]),
            storeys=float(r["storeys"]),
            weight=MappingProxyType(weight),
            source=r["source"],
        )

    return _table("area_priors.csv", "building_class", build)


@cache
def ratios() -> Mapping[str, Ratio]:
    """Return the ratios and error terms by name."""

    def build(r: dict[str, str]) -> Ratio:
        return Ratio(
            name=r["name"],
            group=r["group"],
            distribution=r["distribution"],
            median=float(r["median"]),
            ln_sd=_optional(r["ln_sd"]) or 0.0,
            a=_optional(r["a"]) or 0.0,
            b=_optional(r["b"]) or 0.0,
            low=_optional(r["low"]),
            high=_optional(r["high"]),
            weight=_optional(r["weight"]) or 0.0,
            source=r["source"],
        )

    return _table("ratios.csv", "name", build)


def ratio(name: str) -> Ratio:
    """Return one ratio by name.

    Raises:
        ConfigError: the name is not in the table.
    """
    return _pick(ratios(), name, "ratio")


@cache
def group(name: str) -> tuple[Ratio, ...]:
    """Return the ratios of a group in file order: the parts of a mixture."""
    return tuple(r for r in ratios().values() if r.group == name)


@cache
def fleet_mix(
    year: int, country: str | None = None, operator: str | None = None
) -> tuple[tuple[Accelerator, float], ...]:
    """Return the chips of AI fleets in a year with their shares of accelerator power, summing to 1.

    Within the table the nearest year counts, without chips that were not yet released. Past it the speeds of the last
    year's chips grow by `FLEET_GROWTH` a year at the same power, with the error `fleet_mix_ln_sd`. A country with a
    mix of its own takes that, whoever operates. A named operator takes its own, or that of buyers of chips; None: all.

    Raises:
        ConfigError: no chip of the table was in use in that year.
    """
    rows = _fleet(country, operator)
    tabled = fleet_mix_year(year, country, operator)
    mix = [(accelerator(r["chip"]), float(r["weight"])) for r in rows if int(r["year"]) == tabled]
    mix = [(chip, weight) for chip, weight in mix if (chip.release_year or 0) <= year]
    if not mix:
        first = min(c.release_year or 9999 for c in (accelerator(r["chip"]) for r in rows))
        raise ConfigError(f"year: {year} is before the first accelerator of the table; give {first} or later")
    if (past := year - max(int(r["year"]) for r in rows)) > 0:
        mix = [(_grown(chip, FLEET_GROWTH**past, year), weight) for chip, weight in mix]
    total = sum(weight for _, weight in mix)
    return tuple((chip, weight / total) for chip, weight in mix)


def fleet_mix_ln_sd(year: int) -> float:
    """Return the ln-sd of H100 equivalents per MW that the trend past the table adds in `year`; 0 within the table."""
    # the error of the growth is the same every year, so it adds up linearly
    return FLEET_GROWTH_LN_SD * max(0, year - max(int(r["year"]) for r in _fleet(None, None)))


def fleet_mix_year(year: int, country: str | None = None, operator: str | None = None) -> int:
    """Return the year of the table that `fleet_mix` uses."""
    # the earlier one if two are equally near
    return min({int(r["year"]) for r in _fleet(country, operator)}, key=lambda y: (abs(y - year), y))


def fleet_mix_country(country: str) -> bool:
    """Whether the table has a mix for this country."""
    return any(r["country"] == country.upper() for r in _rows("fleet_mix.csv"))


def _fleet(country: str | None, operator: str | None) -> list[dict[str, str]]:
    own = country.upper() if country and fleet_mix_country(country) else ""
    rows = [r for r in _rows("fleet_mix.csv") if r["country"] == own]
    if own or not operator:
        return [r for r in rows if r["operator"] == ""]
    words = {_OPERATOR_ALIASES.get(w, w) for w in re.findall(r"[a-z0-9]+", operator.lower())}
    named = sorted(words & {r["operator"] for r in rows})
    return [r for r in rows if r["operator"] == (named[0] if named else "buyer")]


def _grown(chip: Accelerator, factor: float, year: int) -> Accelerator:
    speeds = {k: (v := getattr(chip, k)) and v * factor for k in ("bf16_tflop_s", "fp8_tflop_s", "fp4_tflop_s")}
    return replace(chip, chip=f"{chip.chip}, trend to {year}", aliases=(), **speeds)


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = (files(__package__) / name).read_text(encoding="utf-8")
    return tuple(csv.DictReader((line for line in text.splitlines() if not line.startswith("#")), strict=True))


def _table(name: str, key: str, build: Callable[[dict[str, str]], _T]) -> Mapping[str, _T]:
    return MappingProxyType({row[key]: build(row) for row in _rows(name)})


def _pick(table: Mapping[str, _T], name: str, what: str) -> _T:
    if name not in table:
        raise ConfigError(f"{what}: '{name}' is not in the reference tables; {nearest(name, table)}")
    return table[name]


def _optional(text: str) -> float | None:
    return float(text) if text else None

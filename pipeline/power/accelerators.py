"""Power and speed of declared or counted chips.

In: names and numbers, such as 'NVIDIA H100 SXM5 80GB:100000'. Out: `ChipPower`: facility and IT power at the design
peak, H100 equivalents. Watts of a chip are those of overwatt.models.reference.facts, the one table of chips
(docs/methods.md, sections 4.3 and 5.1).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.chip_power import law
from overwatt.models.reference import facts
from overwatt.models.reference.facts import Accelerator

MAX_CHIPS = 100_000_000
"""Larger numbers are refused: some 20 times all AI chips made by 2026 in H100 equivalents (Epoch AI, recalled)."""


@dataclass(frozen=True)
class ChipPower:
    """Power and speed of a set of chips.

    Attributes:
        facility_mw: median peak power of the site, cooling included.
        it_mw: the same without cooling.
        ln_sd: of facility_mw.
        h100e, h100e_fp8: H100 equivalents, dense BF16 and dense 8-bit basis.
        bf16_flop_per_s: dense peak speed.
        words: description in words.
        errors: source of error -> ln-sd; their squares add up to ln_sd squared.
    """

    facility_mw: float
    it_mw: float
    ln_sd: float
    h100e: float
    h100e_fp8: float
    bf16_flop_per_s: float
    words: str
    errors: Mapping[str, float] = field(default_factory=dict)


def parse_chips(text: str) -> list[tuple[str, int]]:
    """Return names and numbers from 'NAME:NUMBER'; separate several with commas or semicolons.

    Raises:
        ConfigError: a part has no number, or one out of range.
    """
    out = []
    # a comma before exactly three digits separates thousands, not parts
    for part in re.split(r"[;,](?!\d{3}(?:\D|$))", text):
        if not part.strip():
            continue
        name, colon, number = part.rpartition(":")
        digits = number.strip().replace(",", "").replace("_", "")
        if not colon or not name.strip() or not re.fullmatch(r"-?\d{1,15}", digits):
            raise ConfigError(f"chips: '{part.strip()[:80]}' cannot be read; give NAME:NUMBER, such as 'H100:1000'")
        if not 0 < int(digits) <= MAX_CHIPS:
            raise ConfigError(
                f"chips: {int(digits):,} of '{name.strip()[:60]}' is out of range; give 1 to {MAX_CHIPS:,}"
            )
        out.append((name.strip(), int(digits)))
    if not out:
        raise ConfigError("chips: none given; give NAME:NUMBER, such as 'H100:1000'")
    return out


def find_chip(name: str) -> Accelerator:
    """Return the chip with a full or short name; case, spaces and hyphens do not matter.

    Raises:
        ConfigError: no chip has this name, or several chips that differ.
    """
    table = facts.accelerators()
    if name in table:
        return table[name]
    wanted = _words(name)
    for alias, chip in facts.accelerator_aliases().items():
        if wanted and _words(alias) == wanted:
            return table[chip]
    # the same words, else all words of the name among those of the chip
    found = [c for c in table.values() if _words(c.chip) == wanted]
    found = found or [c for c in table.values() if wanted and set(wanted) <= set(_words(c.chip))]
    if not found:
        raise ConfigError(f"chips: '{name[:60]}' is not in the table of chips; nearest names: {_nearest(name)}")
    if len({(c.tdp_w, c.bf16_tflop_s, c.w_it) for c in found}) > 1:
        several = ", ".join(c.chip for c in found[:6])
        raise ConfigError(f"chips: '{name[:60]}' may mean {several}; give one of these names")
    return min(found, key=lambda c: (len(c.chip), c.chip))


def power_of_chips(numbers: Sequence[tuple[str, int]], *, year: int | None = None) -> ChipPower:
    """Return power and speed of chips.

    Args:
        numbers: name and number of each kind, as from `parse_chips`.
        year: of the estimate; chips released later are refused.

    Raises:
        ConfigError: a chip is unknown, has no speed in the table, or was released later than `year`.
    """
    found = [(find_chip(name), n) for name, n in numbers]
    for chip, _ in found:
        if chip.bf16_tflop_s is None:
            raise ConfigError(f"chips: the table has no 16-bit speed of '{chip.chip}'")
        if year is not None and chip.release_year is not None and chip.release_year > year + 1:
            raise ConfigError(f"chips: '{chip.chip}' came out in {chip.release_year}, after {year}; check date")
    count = sum(n for _, n in found)
    it_mw = sum(chip.w_it * n for chip, n in found) / 1e6
    mw = sum(chip.facility_w * n for chip, n in found) / 1e6
    scatter = law().ln_sd  # between sites with the same chips (docs/methods.md, section 4.3)
    # errors of several kinds of chip are taken as one error: they come from the same sources; by the law `w_it_ln_sd`
    # has the scatter in it already
    watts = sum(
        chip.w_it * n * math.sqrt(max(0.0, chip.w_it_ln_sd**2 - scatter**2 * (chip.w_it_basis == "law")))
        for chip, n in found
    ) / (it_mw * 1e6)  # fmt: skip
    ratio = mw / it_mw
    errors = {
        "sites with the same chips": scatter,
        "the law of power of chips": watts,
        # the ratio is 1 plus a log-normal, so d ln R = (R - 1) / R d ln (R - 1)
        "facility over IT power": (ratio - 1.0) / ratio * facts.ratio("facility_per_it").ln_sd,
    }
    ln_sd = math.sqrt(sum(v**2 for v in errors.values()))
    speed = sum((chip.bf16_tflop_s or 0.0) * 1e12 * n for chip, n in found)
    listed = ", ".join(f"{n:,} {chip.chip}" for chip, n in found)
    words = f"{listed}: {mw:,.3g} MW at {1e6 * mw / count:,.0f} W a chip all in (facility, ln-sd {ln_sd:.2f})"
    h100e, h100e_fp8 = sum(c.h100e * n for c, n in found), sum(c.h100e_fp8 * n for c, n in found)
    return ChipPower(mw, it_mw, ln_sd, h100e, h100e_fp8, speed, words, errors)


def _nearest(name: str) -> str:
    names = {chip.lower(): chip for chip in facts.accelerators()}
    return ", ".join(names[n] for n in difflib.get_close_matches(name.lower(), names, n=4, cutoff=0.0))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+\d+[a-z0-9]*|v\d+\w*|[a-z]+|\d+[a-z]*", name.lower().replace("-", " "))

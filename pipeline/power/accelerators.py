"""Power and speed of declared or counted chips.

In: names and numbers, such as 'NVIDIA H100 SXM5 80GB:100000'. Out: `ChipPower`: facility and IT power,
H100 equivalents on the dense BF16 basis. The law of power and its error are in overwatt.models.capacity.chip_power
(docs/methods.md, section 4.3).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.chip_power import Chip, chips, law
from overwatt.models.reference import facts
from overwatt.pipeline.power.evidence_models import facility_ratio

MAX_CHIPS = 100_000_000
"""Larger numbers are refused: some 20 times all AI chips made by 2026 in H100 equivalents (Epoch AI, recalled)."""
# short names that fit several chips of the table, and the one that is meant; own choice: the most widely used
_PREFERRED = {
    "a100": "NVIDIA A100", "a100 sxm": "NVIDIA A100", "h100": "NVIDIA H100 SXM5 80GB",
    "h100 sxm": "NVIDIA H100 SXM5 80GB", "h200": "NVIDIA H200 SXM", "h20": "NVIDIA HGX H20", "b200": "NVIDIA B200",
    "b200 hgx": "NVIDIA B200", "gb200": "NVIDIA GB200", "gb200 nvl72": "NVIDIA GB200",
    "gb300": "NVIDIA GB300 (Blackwell Ultra)", "gb300 nvl72": "NVIDIA GB300 (Blackwell Ultra)",
    "b300": "NVIDIA B300 (Blackwell Ultra)", "v100": "NVIDIA V100", "p100": "NVIDIA P100",
    "mi300x": "AMD Instinct MI300X", "mi355x": "AMD Instinct MI355X", "mi250x": "AMD Radeon Instinct MI250X",
    "tpu v6e": "Google TPU v6e Trillium", "tpu v7": "Google TPU v7 Ironwood", "trainium 2": "Amazon Trainium2",
    "ascend 910b": "Huawei Ascend 910B", "ascend 910c": "Huawei Ascend 910C", "h800": "NVIDIA H800 SXM5",
    "a800": "NVIDIA A800 SXM", "rubin": "NVIDIA VR200", "nvidia rubin": "NVIDIA VR200", "vera rubin": "NVIDIA VR200",
}  # fmt: skip


@dataclass(frozen=True)
class ChipPower:
    """Power and speed of a set of chips.

    Attributes:
        facility_mw: median peak power of the site, cooling included.
        it_mw: the same without cooling.
        ln_sd: of facility_mw; it_mw also has the spread of the ratio of facility to IT power.
        h100e: H100 equivalents, dense BF16 basis.
        bf16_flop_per_s: dense peak speed.
        words: description in words.
        errors: source of error -> ln-sd; their squares add up to ln_sd squared.
    """

    facility_mw: float
    it_mw: float
    ln_sd: float
    h100e: float
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


def find_chip(name: str) -> Chip:
    """Return the chip with a full or short name; case, spaces and hyphens do not matter.

    Raises:
        ConfigError: no chip has this name, or several chips that differ.
    """
    table = chips()
    if name in table:
        return table[name]
    wanted = _words(name)
    if " ".join(wanted) in _PREFERRED:
        return table[_PREFERRED[" ".join(wanted)]]
    # the same words, else all words of the name among those of the chip
    found = [c for c in table.values() if _words(c.chip) == wanted]
    found = found or [c for c in table.values() if wanted and set(wanted) <= set(_words(c.chip))]
    if not found:
        raise ConfigError(f"chips: '{name[:60]}' is not in the table of chips; nearest names: {_nearest(name)}")
    if len({(c.tdp_w, c.bf16_tflop_s) for c in found}) > 1:
        several = ", ".join(c.chip for c in found[:6])
        raise ConfigError(f"chips: '{name[:60]}' may mean {several}; give one of these names")
    return min(found, key=lambda c: (len(c.chip), c.chip))


def power_of_chips(numbers: Sequence[tuple[str, int]], *, facility: bool = True, year: int | None = None) -> ChipPower:
    """Return power and speed of chips.

    Args:
        numbers: name and number of each kind, as from `parse_chips`.
        facility: whether cooling is included; without it, the power drawn by the machine, as in TOP500 runs.
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
    total = sum(chip.tdp_w * n for chip, n in found)
    count = sum(n for _, n in found)
    dense = sum(chip.tdp_w * n for chip, n in found if chip.dense) / total
    # ln(P / sum n TDP) from the fitted law (docs/methods.md, section 4.3)
    ln_over, ln_sd = law().predict(total / count, dense=dense, facility=facility)
    mw = total * math.exp(ln_over) / 1e6
    speed = sum((chip.bf16_tflop_s or 0.0) * 1e12 * n for chip, n in found)
    listed = ", ".join(f"{n:,} {chip.chip}" for chip, n in found)
    words = f"{listed}: {mw:,.3g} MW at {1e6 * mw / count:,.0f} W a chip all in (facility, ln-sd {ln_sd:.2f})"
    ratio = facility_ratio(None, None)[0] if facility else 1.0
    scatter = law().ln_sd  # between sites with the same chips; the rest is the uncertainty of the coefficients
    errors = {
        "sites with the same chips": scatter,
        "the law of power of chips": math.sqrt(max(0.0, ln_sd**2 - scatter**2)),
    }
    return ChipPower(mw, mw / ratio, ln_sd, speed / (facts.H100_BF16_TFLOP_S * 1e12), speed, words, errors)


def _nearest(name: str) -> str:
    names = {chip.lower(): chip for chip in chips()}
    return ", ".join(names[n] for n in difflib.get_close_matches(name.lower(), names, n=4, cutoff=0.0))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+\d+[a-z0-9]*|v\d+\w*|[a-z]+|\d+[a-z]*", name.lower().replace("-", " "))

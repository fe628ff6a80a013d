"""Names of countries, States and grid zones in one spelling.

In: a stated zone, country or State. Out: its name in capitals, a country as its ISO 3166-1 alpha-2 code.
"""

from __future__ import annotations

import re
from functools import cache

import pycountry

from overwatt.pipeline.declared.parsing import as_text

_COUNTRY_NAMES = {
    "UK": "GB", "GREAT BRITAIN": "GB", "PRC": "CN", "PEOPLES REPUBLIC OF CHINA": "CN", "UAE": "AE", "RUSSIA": "RU",
    "SOUTH KOREA": "KR", "KOREA": "KR", "REPUBLIC OF KOREA": "KR", "KOREA (REPUBLIC OF)": "KR", "TURKEY": "TR",
}  # fmt: skip
"""Common names that ISO 3166-1 does not list, with their alpha-2 code."""
_AMBIGUOUS = frozenset({"GEORGIA"})
"""Names that are a country and a State of the US: they are not replaced by a country code."""
_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")  # ISO 3166-2


def zone_name(text: object) -> str:
    """Return a zone's name in capitals ('us-va' becomes 'US-VA'); a country becomes its ISO 3166-1 alpha-2 code."""
    name = ((as_text(text) if isinstance(text, str) else None) or "")[:120].upper()
    return _country_code(name.replace(".", "").replace("'", "").removeprefix("THE ")) or name


def country_of(zone: object) -> str | None:
    """Return the ISO 3166-1 alpha-2 code of the country of a stated zone; None if the zone does not tell it.

    Two letters that are also a State of the US or a province of Canada (DE, CA, NL) do not tell it.
    """
    name = zone_name(zone)
    if match := _SUBDIVISION.fullmatch(name):
        name = match[1]
    elif name == str(zone).strip().upper() and name in _states():
        return None
    return name if len(name) == 2 and pycountry.countries.get(alpha_2=name) else None


@cache
def _states() -> frozenset[str]:
    return frozenset(s.code[3:] for s in pycountry.subdivisions if s.country_code in ("US", "CA"))


@cache
def _country_code(name: str) -> str:
    """Return the ISO 3166-1 alpha-2 code of a country name in capitals; '' if it is not one, or has two letters."""
    if name in _COUNTRY_NAMES:
        return _COUNTRY_NAMES[name]
    if len(name) < 3 or name in _AMBIGUOUS:  # two letters may be a State: VA, CA, DE
        return ""
    try:
        return str(pycountry.countries.lookup(name).alpha_2)
    except LookupError:
        return ""

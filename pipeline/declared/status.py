"""Status of a declaration from the words of its registry.

In: a cell such as 'Shelved - inferred 2 y' or 'Phase 1 operational; phase 2 planned'. Out: a status of `STATUS_WORDS`,
or `UNKNOWN_STATUS`. Only whole phrases are looked up, never parts of them: 'not yet operational', 'inoperative' and
'decommissioning planned' hold the words of another status.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from overwatt.pipeline.vocabulary import STATUS_WORDS, UNKNOWN_STATUS

_STATUS_OF = {word: status for status, words in STATUS_WORDS.items() for word in words.split("|")}
_PARTS = re.compile(r"[,;/|()\[\]+&:]|\s[-–—]+\s|\b(?:and|but|with|und|et)\b")
_PHASE = re.compile(
    r"(?:phases?|ph|stages?|buildings?|blocks?|units?|halls?) ?(?:\d{1,3}|[ivx]{1,4}|[a-z])(?: (?:to )?\d{1,3})*\b"
)
_INFERRED = re.compile(r"\binferred(?: \d+ y(?:ears?|rs?)?)?\b")  # Global Energy Monitor: 'shelved - inferred 2 y'
_FILLERS = re.compile(r"^(?:status|currently|now|fully|is|the)\b|\bsince(?: \w+)? (?:19|20)\d\d\b")
_YEAR = re.compile(r"\b(?:(?:in|by|from|until|for) )?(?:19|20)\d\d\b")
_ORDER = ("operational", "construction", "planned", "closed", "cancelled")


@lru_cache(maxsize=10_000)
def status_of(text: str) -> str:
    """Return the status that a phrase states, `UNKNOWN_STATUS` if it is not a known one.

    A phrase with several parts has the status of what exists: operational before construction before planned. Parts
    that contradict each other ('operating, retired 2023') are unknown unless they are of different phases.
    """
    words = _plain(text)
    if "?" in words:
        return UNKNOWN_STATUS
    if found := _STATUS_OF.get(_joined(words)):
        return found
    found_all, phased = set[str](), True
    for part in _PARTS.split(words):
        bare = _PHASE.sub(" ", _joined(part))
        phased = phased and bare != _joined(part)
        bare = _joined(_FILLERS.sub(" ", _joined(_INFERRED.sub(" ", bare))))
        if not bare:
            continue
        status = _STATUS_OF.get(bare)
        if status is None:  # a year beside 'operational' may be one to come
            status = _STATUS_OF.get(_joined(_YEAR.sub(" ", bare)))
            status = None if status == "operational" else status
        if status is None and not (bare.isdigit() and found_all and "operational" not in found_all):
            return UNKNOWN_STATUS
        found_all |= {status} if status else set()
    if "operational" in found_all and found_all & {"closed", "cancelled"} and not phased:
        return UNKNOWN_STATUS
    return next((s for s in _ORDER if s in found_all), UNKNOWN_STATUS)


def _plain(text: str) -> str:
    """Return text in lower case without accents, 'ß' as 'ss'."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _joined(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text))

"""Status of a declaration from the words of its registry.

In: a cell such as 'Shelved - inferred 2 y' or 'Phase 1 operational; phase 2 planned'. Out: a status of `STATUS_WORDS`,
or `UNKNOWN_STATUS`. Only whole phrases are looked up, never parts of them: 'not yet operational', 'inoperative' and
'decommissioning planned' hold the words of another status.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from overwatt.pipeline.vocabulary import NOTHING_DECLARED, STATUS_WORDS, UNKNOWN_STATUS

_STATUS_OF = {word: status for status, words in STATUS_WORDS.items() for word in words.split("|")}
_PARTS = re.compile(r"[,;/|()\[\]+&:]|\s[-–—]+\s|\b(?:and|but|with|und|et)\b")
_PHASE = re.compile(
    r"(?:phases?|ph|stages?|buildings?|blocks?|units?|halls?) ?(?:\d{1,3}|[ivx]{1,4}|[a-z])(?: (?:to )?\d{1,3})*\b"
)
_INFERRED = re.compile(r"\binferred(?: \d+ y(?:ears?|rs?)?)?\b")  # Global Energy Monitor: 'shelved - inferred 2 y'
_FILLERS = re.compile(r"^(?:status|currently|now|fully|is|the)\b|\bsince(?: \w+)? (?:19|20)\d\d\b")
_YEAR = re.compile(r"\b(?:(?:in|by|from|until|for) )?(?:19|20)\d\d\b")
_WITH = re.compile(r"\bw/(?!o\b)")
_BY = re.compile(r"\bby (?:the )?(?:applicant|owner|developer|operator|court|voters|staff"
                 r"|(?:city |county |town |planning |zoning )*(?:council|commission|board|supervisors))\b")  # fmt: skip
_DECISION = re.compile(
    r"(?:rezoning|zoning|special exception|(?:special|conditional) use permit|sup|cup|site plan"
    r"|building permit|permit|variance|application)(?: application| request)? (?=.)"
)
"""What is decided on: 'rezoning denied' has the status of 'denied', but 'permit active' is not operation."""
_NOT_RUNNING = re.compile(r"(?:not|non) ?(?:operati|in ).*")  # of a plan: not yet
_WEAK = frozenset({"active", "aktiv", "activo", "activa", "attivo", "attiva", "open"})
"""Of a project as of a plant: 'active - under construction' does not operate."""
_ORDER = ("operational", "construction", "planned", "closed", "cancelled")


@lru_cache(maxsize=10_000)
def status_of(text: str) -> str:
    """Return the status that a phrase states, `UNKNOWN_STATUS` if it is not a known one.

    A phrase with several parts has the status of what exists if each is of a phase ('phase 1 operational, phase 2
    cancelled'): operational before construction before planned. Otherwise an ending counts before what ended ('planned,
    cancelled'); together with operation ('operating, retired 2023') it is unknown.
    """
    words = _WITH.sub("with ", _plain(text))
    if "?" in words:
        return UNKNOWN_STATUS
    if found := _STATUS_OF.get(_joined(words)):
        return found
    found_all, phases, parts, not_running, weak = set[str](), 0, 0, False, False
    for part in _PARTS.split(words):
        phases += len(_PHASE.findall(_joined(part)))
        bare = _INFERRED.sub(" ", _joined(_PHASE.sub(" ", _joined(part))))
        bare = _joined(_FILLERS.sub(" ", _joined(_BY.sub(" ", _joined(bare)))))
        if not bare:
            continue
        status = _known(bare)
        if status is None and not (bare.isdigit() and found_all and "operational" not in found_all):
            return UNKNOWN_STATUS
        parts += status is not None
        if status == "closed" and _NOT_RUNNING.fullmatch(bare):
            not_running = True
        elif bare in _WEAK and not phases:
            weak = True
        elif status:
            found_all.add(status)
    if not_running and (not found_all or "operational" in found_all):
        found_all.add("closed")
    if weak and not found_all & {"planned", "construction"}:
        found_all.add("operational")
    if found_all & NOTHING_DECLARED and phases < parts:
        return UNKNOWN_STATUS if "operational" in found_all else "closed" if "closed" in found_all else "cancelled"
    return next((s for s in _ORDER if s in found_all), UNKNOWN_STATUS)


def _known(bare: str) -> str | None:
    """Return the status of a part of a phrase, None if it is not known."""
    undated = _joined(_YEAR.sub(" ", bare))
    status = _STATUS_OF.get(bare) or _STATUS_OF.get(undated)
    if status and (status != "operational" or undated == bare):  # a year beside 'operational' may be one to come
        return status
    decided = _STATUS_OF.get(_DECISION.sub("", undated, count=1))
    return decided if decided in ("planned", "cancelled") else None


def _plain(text: str) -> str:
    """Return text in lower case without accents, 'ß' as 'ss'."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _joined(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text))

"""Texts that must fit on paper: widths estimated from above, because the fonts of the reader are not known.

In: a text. Out: the same text or its beginning, within a number of lines.
"""

from __future__ import annotations

import math
import re
import unicodedata

LINE = 34.0
"""Width of a line of evidence, in lower-case letters: 55 mm in DejaVu Sans of 8.2 pt, a wide font."""
LINES = 12
"""Lines of a list of evidence: 54 mm."""
SENTENCE = re.compile(r"(?<=[.?!])\s+|(?<=。)")
CLAUSE = re.compile(r"(?<=[.?!])\s+|(?<=。)|;\s+")
"""What separates the parts of a text: sentences; clauses as well."""


def bullets(text: str, split: re.Pattern[str] = SENTENCE, lines: int = LINES) -> tuple[list[str], int]:
    """Return the parts of a text that fit into a number of lines, and how many parts are left out.

    Args:
        text: sentences.
        split: what separates the parts.
        lines: of `LINE` letters; one is kept for the note on what is left out.
    """
    parts = [p.strip() for p in split.split(text) if p.strip()]
    shown: list[str] = []
    if sum(_height(p) for p in parts) <= lines:
        return parts, 0
    room = lines - 1
    for part in parts:
        if _height(part) > room and shown:
            break
        shown.append(fitted(part, room))
        room -= _height(shown[-1])
    return shown, len(parts) - len(shown)


def fitted(text: str, lines: int, width: float = LINE) -> str:
    """Return a text on one line of source, cut with an ellipsis to a number of lines on paper."""
    text = " ".join(text.split())
    if _height(text, width) <= lines:
        return text
    low, high = 0, len(text)
    while low < high:  # longest beginning that fits; the height grows with the length
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _height(text[:middle] + " …", width) <= lines else (low, middle - 1)
    return text[:low].rstrip() + " …"


def _height(text: str, width: float = LINE) -> int:
    """Lines that a text takes, broken at spaces and in words that are longer than a line."""
    lines, at = 1, 0.0
    for word in text.split():
        size = sum(_letter(c) for c in word)
        if at and at + size > width:
            lines, at = lines + 1, 0.0
        over = max(0, math.ceil(size / width) - 1)
        lines, at = lines + over, at + size - over * width + 1.0
    return lines


def _letter(c: str) -> float:
    """Width of a character in lower-case letters, from above: the fonts of the reader are not known."""
    if unicodedata.east_asian_width(c) in "WF" or c in "MWmw@%—":
        return 2.0
    return 1.0 if c.islower() or c in ".,;:()'" else 1.35

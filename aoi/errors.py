"""The error tree of Overwatt.

Every error that a user can cause or correct is an `OverwattError`: its message names the
thing (field, file, tile), its value and what to do. Any other exception is a bug
and keeps its traceback. URLs are redacted here, in one place, so that no signed link
reaches a log or a report.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# signed links carry their key in the query (SAS, S3 presigned URLs) or before the host (user:password@)
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")
_USERINFO = re.compile(r"(https?://)[^/@\s]+@")


def redact(text: str) -> str:
    """Return `text` with query strings and user info of URLs removed (signatures, tokens)."""
    return _USERINFO.sub(r"\1", _QUERY.sub(r"\1?[redacted]", text))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word most similar to `word`, or with all of them if none is similar."""
    known = sorted(known)
    # cutoff 0.5: own choice, accepts two or three wrong letters in a word of six
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


class OverwattError(Exception):
    """Base of all errors that a user can correct; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(" ".join(message.split())))


class ConfigError(OverwattError):
    """A workflow file, option or setting cannot be used."""


class CatalogError(OverwattError):
    """A catalogue search failed or found nothing usable."""


class AssetReadError(OverwattError):
    """An image could not be read; carries the (redacted) address and the pixel window."""

    def __init__(self, message: str, href: str = "", window: object | None = None) -> None:
        self.href = redact(href)
        self.window = window
        super().__init__(message)


class GridError(OverwattError):
    """An area or a grid is unusable: empty, self-crossing, without CRS, too large."""


class ModelContractError(OverwattError):
    """Weights and imagery, or weights and code, do not fit together."""


class RegistryError(OverwattError):
    """A registry of declared facilities cannot be read."""


class OutputError(OverwattError):
    """A result cannot be written: full disk, quota, or no permission; the inputs are not to blame."""

"""Style sheets and scripts inside a page, allowed by their hashes alone.

In: a file of this folder. Out: its text, and the hash source for the page's content security policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

_HERE = Path(__file__).parent


def read(name: str) -> str:
    """Return the text of a file of this folder."""
    return (_HERE / name).read_text(encoding="utf-8")


def inline(text: str) -> str:
    """Return the text as a browser hashes it (line ends LF); it must not close its own element."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</(script|style)|<!--", text, re.IGNORECASE):
        raise ValueError("a style sheet or script of the report would close its own element")
    return text


def digest(text: str) -> str:
    """Return the hash source of the Content Security Policy (CSP Level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

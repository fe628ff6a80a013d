"""What all commands share: options of one meaning, results on standard output, log lines on standard error.

Nothing heavy is imported here or at the top of any module of `cli`: help and a wrong flag must answer at once.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

log = logging.getLogger("overwatt")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Out = Annotated[Path | None, typer.Option("--out", help="Output folder.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: imagery.path=FILE. May be repeated.")]


def show(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print a result: lines for people, and with --json one JSON object as the last line of standard output."""
    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result))


def say(text: str) -> None:
    """Log one line of progress."""
    log.info(text)


class _JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        from datetime import UTC, datetime

        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Lines(logging.Formatter):
    """The message alone; with --verbose also level and logger. Names come from files: no terminal escapes."""

    def __init__(self, verbose: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s" if verbose else "%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return "".join(c if c.isprintable() or c == "\n" else "?" for c in super().format(record))


def set_up_logging(*, verbose: bool, as_json: bool) -> None:
    """Send the log of `overwatt` to standard error: progress by default, details with `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _Lines(verbose))
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False

"""The page docs/howto/inputs.md as data, for the tests that give each of its inputs to its reader."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from overwatt.aoi.errors import OverwattError
from tests.support import ROOT

PAGE = ROOT / "docs" / "howto" / "inputs.md"
Result = tuple[str, str]
"""Outcome, and what the reader said."""
Check = Callable[[Path], Result | list[Result]]
"""Makes an input in a folder and gives it to its reader; an OverwattError means that it is refused."""
OUTCOMES = ("read", "read in part", "kept aside", "refused")


class Row(NamedTuple):
    """A row of the page: an input, what becomes of it, and how, with pieces of the message in backquotes."""

    given: str
    outcome: str
    how: str


def sections() -> dict[str, list[Row]]:
    """Return the rows of the table in each section of the page."""
    found: dict[str, list[Row]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line[3:], [])
        elif line.startswith("| ") and not line.startswith("| input |"):
            # a backslash hides a bar from the table
            cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows.append(Row(*cells))
    return {name: rows for name, rows in found.items() if rows}


def tried(check: Check, folder: Path) -> list[Result]:
    """Run a check: outcome and what the reader said of each form of the input."""
    try:
        found = check(folder)
    except OverwattError as error:
        found = ("refused", str(error))
    return found if isinstance(found, list) else [found]


def each(*checks: Check) -> Check:
    """A check of several forms of one input, each in a folder of its own."""

    def check(folder: Path) -> list[Result]:
        results = []
        for k, one in enumerate(checks):
            (folder / str(k)).mkdir()
            results += tried(one, folder / str(k))
        return results

    return check


def same_rows(section: str, checks: dict[str, Check]) -> None:
    """Assert that the page lists the inputs that are checked, in that order, with outcomes that exist."""
    rows = sections()[section]
    assert [r.given for r in rows] == list(checks)
    assert {r.outcome for r in rows} <= set(OUTCOMES)


def holds(section: str, given: str, check: Check, folder: Path) -> None:
    """Assert that an input has the outcome that the page states, and that its messages have every quoted piece.

    Args:
        section: of the page.
        given: the input, as in the first column.
        check: gives the input to its reader.
        folder: an empty one.
    """
    row = next(r for r in sections()[section] if r.given == given)
    results = tried(check, folder)
    assert {outcome for outcome, _ in results} == {row.outcome}, results
    assert row.outcome != "refused" or not any("\n" in said for _, said in results)
    pieces = [
        re.compile(".*".join(map(re.escape, re.split(r"\s*…\s*", quoted))))
        for quoted in re.findall(r"`([^`]+)`", row.how)
    ]
    for piece in pieces:
        assert any(piece.search(said) for _, said in results), (piece.pattern, results)
    if row.outcome in ("refused", "kept aside"):  # no form goes without its reason on the page
        assert all(any(piece.search(said) for piece in pieces) for _, said in results), results

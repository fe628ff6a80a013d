"""A progress bar on a terminal, lines of progress elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from overwatt.workflows.cli.common import say


class TileBar:
    """Progress over tiles: done, failed, rate and time left.

    On a terminal a bar, else a line each `every` tiles. It starts with the first tile: input that is refused leaves
    one line and no bar.
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> TileBar:
        return self

    def __call__(self, done: int, failed: int, total: int) -> None:
        """Show that `done` of `total` tiles are done and `failed` failed."""
        count = done + failed
        rate = count / max(time.monotonic() - self._start, 1e-9)
        note = f"{rate:.1f}/s" + (f", {failed} failed" if failed else "")
        if sys.stderr.isatty():
            self._draw(count, total, note)
        elif count % self._every == 0 or count == total:
            say(f"tiles {count}/{total}, {note}, {(total - count) / max(rate, 1e-9):.0f} s left")

    def _draw(self, count: int, total: int, note: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=Console(stderr=True, highlight=False))
            self._task = self._bar.add_task("tiles", total=total, rate=note)
            self._bar.start()
        self._bar.update(self._task, total=total, completed=count, rate=note)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

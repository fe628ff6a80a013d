"""Progress of a run: lines, tiles, and the seconds of its stages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where progress goes: `say` takes a line (the log by default), `tile` the counts (done, failed, total)."""

    say: Callable[[str], None] = log.info
    tile: Callable[[int, int, int], None] = lambda done, failed, total: None


class Clock:
    """Seconds of each stage of a run, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now

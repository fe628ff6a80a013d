"""Progress of a run: lines of text, counts of tiles, and the duration of each stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


class Clock:
    """Duration of each stage of a run, in seconds, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage and store its duration."""
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
        log.debug("stage %s took %.2f s", name, self.laps[name])


@dataclass
class Progress:
    """Receivers of progress: `say` takes a line (default: the log), `tile` the counts (done, failed, total).

    `clock` keeps the duration of each stage; it starts with the object.
    """

    say: Callable[[str], None] = log.info
    tile: Callable[[int, int, int], None] = lambda done, failed, total: None
    clock: Clock = field(default_factory=Clock)

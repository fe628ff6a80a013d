"""A registry as it was received: opened by `overwatt.workflows.io.registries`, not yet understood.

In: what the file held. Out: its rows, for the reader of its layout. No file is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from overwatt.aoi.errors import RegistryError, nearest

FAULT = "\0fault"
"""Column that holds why a line could not be read; no file can have it, names are cleaned."""


@dataclass(frozen=True)
class Received:
    """One registry.

    Attributes:
        name: of the file, for messages.
        frame: its table, cells as they were, with shapes (lon/lat) in `geometry` and `FAULT` where lines could
            not be read; None for a JSON answer that is no table.
        content: the parsed JSON of such an answer.
        beside: further tables that belong to it, by file name.
    """

    name: str
    frame: pd.DataFrame | None = None
    content: object = None
    beside: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """Its table.

        Raises:
            RegistryError: it is a JSON answer without one.
        """
        if self.frame is None:
            raise RegistryError(f"registry '{self.name}' is no table of rows and columns")
        return self.frame

    def rows(self, key: str, what: str) -> list[dict[str, Any]]:
        """Return the list of objects under `key` (a dotted path) of the JSON answer; `what` it should be.

        Raises:
            RegistryError: there is no such list.
        """
        found = self.content
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, list) or not all(isinstance(f, dict) for f in found):
            raise RegistryError(f"registry '{self.name}' is not {what}: '{key}' is missing")
        return found


def require(name: str, frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise RegistryError naming the first of `columns` that the table `name` lacks."""
    for column in columns:
        if column not in frame:
            near = nearest(column, [str(c) for c in frame.columns if not str(c).startswith("\0")])
            raise RegistryError(f"registry '{name}': column '{column}' is missing: {near}")

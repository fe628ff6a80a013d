"""A registry as received: opened by `overwatt.workflows.io.registries`, its layout not yet interpreted.

In: the content of the file. Out: its rows, for the reader of its layout. No file is opened here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from overwatt.aoi.errors import RegistryError, nearest

FAULT = "\0fault"
"""Column with the reason why a line could not be read. No file can contain it: control characters are removed."""


@dataclass(frozen=True)
class Received:
    """One registry.

    Attributes:
        name: file name, for messages.
        frame: its table with unchanged cells, geometries (lon/lat) in `geometry` and `FAULT` if lines could not be
            read; None for a JSON answer that is not a table.
        content: the parsed JSON of such an answer.
        beside: further tables that belong to it, from files in the same folder, by file name.
        part: what the file holds of a larger registry and how to get the rest; '' if it is whole, as far as it says.
        notes: what was not read of the file, for the user.
    """

    name: str
    frame: pd.DataFrame | None = None
    content: object = None
    beside: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    part: str = ""
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """The table of the registry.

        Raises:
            RegistryError: the registry is a JSON answer without a table.
        """
        if self.frame is None:
            raise RegistryError(f"registry '{self.name}' is not a table with rows and columns")
        return self.frame

    def rows(self, key: str, what: str) -> list[dict[str, Any]]:
        """Return the list of objects at `key` of the JSON answer.

        Args:
            key: dotted path, such as 'Results.Facilities'.
            what: what the answer should be, for the message.

        Raises:
            RegistryError: there is no such list.
        """
        found = self.content
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, list) or not all(isinstance(f, dict) for f in found):
            raise RegistryError(f"registry '{self.name}' is not {what}: '{key}' is missing")
        return found


def require(name: str, frame: pd.DataFrame, columns: Iterable[str], also: Iterable[str] = ()) -> pd.DataFrame:
    """Return a table with `columns`, and `also` where present, under these names; the file may write them in any case.

    Raises:
        RegistryError: one of `columns` is missing in the table of registry `name`.
    """
    own = {str(c).strip().casefold(): c for c in frame.columns}
    columns = list(columns)
    for column in columns:
        if column.casefold() not in own:
            near = nearest(column, [str(c) for c in frame.columns if not str(c).startswith("\0")])
            raise RegistryError(f"registry '{name}': column '{column}' is missing: {near}")
    wanted = {own[c.casefold()]: c for c in (*columns, *also) if c.casefold() in own}
    return frame.rename(columns={given: c for given, c in wanted.items() if given != c})

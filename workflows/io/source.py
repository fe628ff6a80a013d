"""Protocol of a source of pixels: a file or a catalogue."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox


class Source(Protocol):
    """Pixels on a lattice, from a file or a catalogue."""

    @property
    def name(self) -> str:
        """Name of the file or collection."""
        ...

    @property
    def remote(self) -> bool:
        """Whether reads cross a network and may be retried."""
        ...

    @property
    def date(self) -> str | None:
        """Acquisition date, ISO 8601, as far as the source states one."""
        ...

    @property
    def left_out(self) -> tuple[str, ...]:
        """Scenes that do not fit the weights and are not read, each with the reason."""
        ...

    @property
    def geobox(self) -> GeoBox | None:
        """Lattice; None without georeference."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the lattice."""
        ...

    @property
    def gsd_m(self) -> float:
        """Metres per pixel."""
        ...

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32 0..1 and valid (y, x) bool of a window (half-open, pixels).

        The window may extend beyond the lattice; pixels there are not valid. Thermal bands may follow the optical ones,
        in kelvin above the surroundings, NaN where not measured.
        """
        ...

"""What a source of pixels offers, whether it is a file or a catalogue."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox


class Source(Protocol):
    """Pixels on a lattice, from a file or a catalogue."""

    @property
    def name(self) -> str:
        """File or collection."""
        ...

    @property
    def remote(self) -> bool:
        """Whether reads cross a network and may be tried again."""
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
        """Metres a pixel."""
        ...

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (band, y, x) float32 0..1 and valid (y, x) of a window, which may reach outside.

        Thermal bands may follow the optical ones, in kelvin above the surroundings, NaN where not measured.
        """
        ...

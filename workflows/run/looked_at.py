"""Which ground was looked at: the validity of tiles, collected by the cells of the network's lattice.

In: the pixels of each tile that were imaged and screened, or why the tile failed. Out: table `looked_at`. Its cells are
those of `windows.lattice`, not the tiles, so the table does not depend on how the work was cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import shapes

from overwatt.aoi.area import Area
from overwatt.aoi.geodesy import to_lonlat
from overwatt.aoi.grid import Window, area_mask, outside_cells
from overwatt.models.detector.windows import inside, lattice, overlap
from overwatt.pipeline import coverage
from overwatt.pipeline.tables import conform
from overwatt.workflows.io.source import Source

MIN_PIECE_PX, NOTCH_PX = 16, 1.5
"""Pieces of fewer pixels, and notches at the edge of less, are too small for a data center; own choice."""


@dataclass
class _Cell:
    """Ground of one cell, with an outcome."""

    asked_px: int = 0
    seen_px: int = 0
    ground: list[shapely.Geometry] = field(default_factory=list)
    pieces: list[shapely.Geometry] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class LookedAt:
    """Collects tiles into the table `looked_at`."""

    def __init__(self, source: Source, area: Area | None) -> None:
        """Start with no ground looked at; `area` is the area of interest, None for all of the source."""
        assert source.geobox is not None
        self.source, self.area, self.box = source, area, source.geobox
        self.lattice = lattice(source.shape, source.gsd_m)
        self._cells: dict[tuple[str, bool], _Cell] = {}  # by name, and whether its ground failed

    def add(self, core: Window, valid: np.ndarray | None, reason: str = "") -> None:
        """Add a tile.

        Args:
            core: (y0, x0, y1, x1) in pixels of the source.
            valid: (y, x) bool, pixels of the area that were imaged and screened; None if the tile failed.
            reason: why it failed.
        """
        for cell in self.lattice.cells(core):
            part = overlap(cell.core, core)
            y0, x0, y1, x1 = part
            asked = (y1 - y0) * (x1 - x0)
            if self.area is not None:
                shift = Affine.translation(x0, y0)
                asked = int(
                    area_mask(GeoBox((y1 - y0, x1 - x0), self.box.affine * shift, self.box.crs), self.area).sum()
                )
            row = self._cells.setdefault((cell.name, valid is None), _Cell())
            row.asked_px += asked
            row.ground.append(shapely.box(x0, y0, x1, y1))
            if valid is None:
                row.reasons.append(reason)
                continue
            seen = valid[inside(part, core)]
            row.seen_px += int(seen.sum())
            row.pieces += (
                [shapely.box(x0, y0, x1, y1)]
                if seen.all()
                else [
                    shapely.geometry.shape(g)
                    for g, _ in shapes(seen.astype(np.uint8), mask=seen, transform=Affine.translation(x0, y0))
                ]
            )

    def table(self) -> gpd.GeoDataFrame:
        """Return the table `looked_at`, with the ground of the area that lies outside of the imagery."""
        found = [self._row(*key, cell) for key, cell in sorted(self._cells.items()) if cell.asked_px]
        rows, ground = [row for row, _ in found], [seen for _, seen in found]
        if self.area is not None:
            for name, part in outside_cells(self.box, self.area, max(self.lattice.cell_px)):
                rows.append(self._values(name, part.area, 0.0, coverage.OUTSIDE))
                ground.append(part)
        mapped = to_lonlat(ground, self.box.affine, str(self.box.crs))
        return conform(pd.DataFrame([r | {"geometry": g} for r, g in zip(rows, mapped, strict=True)]), "looked_at")

    def _row(self, name: str, failed: bool, cell: _Cell) -> tuple[dict[str, Any], shapely.Geometry]:
        """Return the columns of a cell and its ground: what was seen, or all of it if nothing was; pixels."""
        if failed:
            values = self._values(f"{name} failed", cell.asked_px, 0.0, "; ".join(sorted(set(cell.reasons))))
            return values | {"failed": True}, _joined(cell.ground)
        # valid pixels lie in the area: the others were masked
        imaged = cell.seen_px / cell.asked_px
        values = self._values(name, cell.asked_px, imaged, "" if cell.seen_px else "no imagery here")
        if not cell.pieces:
            return values, _joined(cell.ground)
        pieces = shapely.get_parts(_joined(cell.pieces))
        big = pieces[shapely.area(pieces) >= MIN_PIECE_PX]
        return values, shapely.make_valid(shapely.simplify(shapely.union_all(big if len(big) else pieces), NOTCH_PX))

    def _values(self, name: str, asked_px: float, imaged: float, reason: str) -> dict[str, Any]:
        return {
            "cell": name, "imaged": imaged, "asked_km2": asked_px * self.source.gsd_m**2 / 1e6,
            "clear_looks": int(imaged > 0), "screened": imaged > 0, "failed": False, "reason": reason,
        }  # fmt: skip


def _joined(pieces: list[shapely.Geometry]) -> shapely.Geometry:
    """Unite pieces of tiles: those that share an edge become one, with the same vertices however it was cut."""
    if len(pieces) == 1 and shapely.get_num_coordinates(pieces[0]) == 5:
        return shapely.normalize(pieces[0])
    return shapely.normalize(shapely.simplify(shapely.normalize(shapely.union_all(pieces)), 0))

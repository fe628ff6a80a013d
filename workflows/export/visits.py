"""visits.html: one page per visit of the inspection list, with pictures from the run's own imagery.

In: tables of the list and the run's manifest, which names the image file. Out: one HTML file. The image is used only if
it still has the content that the run saw; a catalogue is not searched again, so no network is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from pydantic import ValidationError
from pyproj import Transformer

from overwatt.aoi.errors import OverwattError
from overwatt.aoi.geodesy import WGS84
from overwatt.models.detector.card import verified
from overwatt.models.detector.sensors import weights_of
from overwatt.pipeline.report import rasters
from overwatt.pipeline.report.visit_views import View, views_of
from overwatt.pipeline.report.visits import VisitsData, render_visits
from overwatt.pipeline.tables import empty
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.export.table import Inputs
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.run.results import decimated

NAME = "visits.html"
MOST = 20
"""Number of pages where no visits were drawn; own choice, a month of work."""
_CHIP_PX, _MAP_PX = 1000, 800  # sides of the pictures: 280 and 230 pixels per inch on paper


def write(file: Path, inputs: Inputs, listed: gpd.GeoDataFrame, findings: Mapping[str, str]) -> None:
    """Write one page per drawn visit, or per entry at the top of the list where there is no plan.

    Args:
        file: the HTML file.
        inputs: tables of the list.
        listed: the list.
        findings: finding -> its meaning, for the boxes to tick.
    """
    if "plan" in inputs.tables:
        places = listed[listed["drawn"].fillna(False).to_numpy(bool)]
        chosen = f"{len(places)} of {len(inputs.tables['plan'])} places, drawn by overwatt inspect."
    else:
        places = listed[listed["rank"].notna()].head(MOST)
        chosen = (
            f"The first {len(places)} of {len(inputs.ledger)} entries by rank: no visits were drawn, which "
            "overwatt inspect RUN --budget N does."
        )
    tables = {name: inputs.tables.get(name, empty(name)) for name in ("looked_at", "footprints", "declared")}
    parameters = inputs.manifest.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    image, note = _image(inputs.manifest) if len(places) else (None, "")
    views = views_of(places, tables["looked_at"], listed)
    pictures = {} if image is None else _pictures(image, views)
    imagery = parameters.get("imagery")
    credit = parameters.get("attribution")
    run_folder.write_text(file, render_visits(VisitsData(
        title=str(parameters.get("title") or parameters.get("name") or "inspection list"),
        places=places, listed=listed, views=views, chosen=chosen, findings=findings, pictures=pictures, imagery=note,
        image_date=str((imagery.get("date") if isinstance(imagery, dict) else None) or ""),
        simulated=parameters.get("simulated") is True,
        attribution=[str(line) for line in credit] if isinstance(credit, list) else [],
        **tables,
    )))  # fmt: skip


def _image(manifest: Mapping[str, Any]) -> tuple[Image | None, str]:
    """Return the run's image if it can be read and is still the same, else None and why not, in one sentence."""
    parameters, hashes = manifest.get("parameters"), manifest.get("inputs")
    if not isinstance(parameters, dict) or not isinstance(hashes, dict):
        return None, "No picture: there is no manifest.json that names the imagery."
    try:
        workflow = Workflow(**parameters)
        if workflow.imagery.path is None:
            return None, "No picture: the run had no image file; a catalogue is not searched again."
        weights, narrow = weights_of(workflow.detector.profile, workflow.detector.weights)
        card = verified(weights)
        image = open_image(workflow.imagery.path, narrow.narrowed(card) if narrow else card)
        if image.sha256 != hashes.get("imagery"):
            return None, "No picture: the image file has changed since the run."
    except (OverwattError, ValidationError, OSError):
        return None, "No picture: the imagery of the run could not be read."
    return image, ""


def _pictures(image: Image, views: Mapping[str, tuple[View, View]]) -> dict[View, bytes]:
    """Return map and chip of each place, cut from the image; none where it has no pixels."""
    out: dict[View, bytes] = {}
    for area, near in views.values():
        for view, px in ((area, _MAP_PX), (near, _CHIP_PX)):
            if view not in out and (picture := _cut(image, view, px)):
                out[view] = picture
    return out


def _cut(image: Image, view: View, px: int) -> bytes | None:
    assert image.geobox is not None  # required when it was opened
    lonlat = shapely.get_coordinates(view.square).T
    x, y = Transformer.from_crs(WGS84, image.geobox.crs, always_xy=True).transform(*lonlat)
    if not np.isfinite([x, y]).all():  # the image's projection does not reach there
        return None
    cols, rows = ~image.geobox.affine * (x, y)
    ny, nx = image.shape
    core = [
        max(0, int(rows.min())),
        max(0, int(cols.min())),
        min(ny, int(rows.max()) + 1),
        min(nx, int(cols.max()) + 1),
    ]
    if core[0] >= core[2] or core[1] >= core[3]:
        return None
    rgb, valid, box = decimated(image, [{"core": core}])
    if not valid.any():
        return None
    centre = shapely.Point(view.lon, view.lat)
    return rasters.chip(rgb, valid, box, empty("footprints"), centre, margin_m=view.half_m, size_px=px, furniture=False)

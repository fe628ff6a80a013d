"""The declared ground size of an image file, compared with its pixels.

In: an opened image. Out: a `GroundSize`, from windows spread over the image. Windows with invalid or damaged pixels
are left out: the borders of voids would count as detail.
"""

from __future__ import annotations

import numpy as np

from overwatt.aoi.errors import AssetReadError
from overwatt.pipeline.imagery.ground_size import WINDOW_PX, GroundSize, ground_size
from overwatt.workflows.io.images import Image

_PER_SIDE = 4  # windows along each side; 16 in all are read in well below a second (own choice)


def check_ground_size(image: Image) -> GroundSize:
    """Return what the pixels of an image say of its ground size; unknown if no window is whole."""
    side = min(WINDOW_PX, *image.shape)
    rows, columns = (
        np.unique(np.linspace(0, length - side, min(_PER_SIDE, length // side)).astype(int)) for length in image.shape
    )
    windows = []
    for y in rows.tolist():
        for x in columns.tolist():
            try:
                pixels, valid = image.read(y, x, y + side, x + side)
            except AssetReadError:  # its tile is reported as failed
                continue
            if valid.all():
                windows.append(255.0 * pixels[:3].mean(0, dtype=np.float64))
    return ground_size(np.array(windows).reshape(-1, side, side), image.gsd_m)

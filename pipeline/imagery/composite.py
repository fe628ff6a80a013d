"""One clear picture from several looks: the median over time, and how many looks stand behind it.

In: reflectance with NaN where cloudy, outside or missing. Out: the median per band and the
number of looks per pixel. A look counts at a pixel only where all its bands are there, so that
the colour of a pixel never mixes dates band by band. The number of looks goes with every
composite, because a pixel seen once and a pixel seen twenty times do not say the same.
The caller brings one tile: memory is one more copy of the stack.
"""

from __future__ import annotations

import numpy as np


def composite(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median over time and the number of looks.

    Args:
        stack: (time, band, y, x) float, NaN or infinite where not clear; time may be empty.

    Returns:
        (median (band, y, x) float32, NaN where never seen; looks (y, x) int32). The order of
        the looks changes nothing; of an even number the mean of the middle two is taken.

    Raises:
        ValueError: `stack` has not four dimensions (a bug, not user input).
    """
    if stack.ndim != 4:
        raise ValueError(f"stack must be (time, band, y, x), got shape {stack.shape}")
    times, bands, ny, nx = stack.shape
    seen = np.isfinite(stack).all(axis=1)
    looks = seen.sum(axis=0, dtype=np.int32)
    if times == 0:
        return np.full((bands, ny, nx), np.nan, dtype=np.float32), looks
    ordered = np.where(seen[:, None], stack, np.nan).astype(np.float32, copy=False)
    ordered.sort(axis=0)
    last = np.maximum(looks - 1, 0)
    lower, upper = (
        np.take_along_axis(ordered, np.broadcast_to(index, (1, bands, ny, nx)), axis=0)[0]
        for index in (last // 2, (last + 1) // 2)
    )
    return (lower / 2 + upper / 2).astype(np.float32, copy=False), looks

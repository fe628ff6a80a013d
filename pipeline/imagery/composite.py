"""Cloud-free composite of several acquisitions: the median over time, and the number of clear acquisitions.

In: reflectance with NaN where cloudy, outside or missing. Out: the median per band and the number of
clear acquisitions ("looks") per pixel. An acquisition counts at a pixel only if all its bands are
valid there, so that the bands of a pixel come from the same dates. The number of looks goes with
every composite, because a pixel seen once is less certain than one seen twenty times.
Call it per tile: it needs memory for one more copy of the stack.
"""

from __future__ import annotations

import numpy as np


def composite(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median over time and the number of clear acquisitions.

    Args:
        stack: (time, band, y, x) float, NaN or infinite where not clear; time may be empty.

    Returns:
        (median (band, y, x) float32, NaN where never clear; looks (y, x) int32). The order of the
        acquisitions does not matter; of an even number the mean of the middle two is taken.

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
    ordered.sort(axis=0)  # NaN sorts last, so the clear values of a pixel are the first `looks`
    last = np.maximum(looks - 1, 0)
    lower, upper = (
        np.take_along_axis(ordered, np.broadcast_to(index, (1, bands, ny, nx)), axis=0)[0]
        for index in (last // 2, (last + 1) // 2)
    )
    # halve before adding: no overflow near the float32 maximum
    return (lower / 2 + upper / 2).astype(np.float32, copy=False), looks

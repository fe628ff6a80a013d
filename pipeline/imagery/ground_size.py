"""A declared ground size that contradicts the picture: is it an enlarged picture of coarser pixels?

In: windows of a picture as grey values, and the declared metres per pixel. Out: the metres per pixel that it looks
like, or unknown. An enlarged picture has no energy at high spatial frequencies, at any place and of any sensor. A sharp
picture whose ground size is declared a few times too small or too large has no such sign: that stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW_PX = 256
"""Side of the windows whose spectra are averaged, pixels (own choice)."""
LEAST_PX = 128
"""Smallest side of a window that is judged: below it too few frequencies are resolved (own choice)."""
SLOPE = 2.5
"""Power falls as frequency ** -SLOPE in the pictures it was chosen on; natural images have 2 (Ruderman 1994)."""
DROP = 1.0
"""Decades below that law from which there is no detail; chosen on half of the pictures (docs/detector.md)."""
ENLARGED = 2.5
"""Least enlargement that is asked about, chosen with `DROP`: sharp pictures reach 2.1."""
_EDGES = np.geomspace(1 / 80, 0.5, 21)  # cycles per pixel, four bins per octave (own choice)


@dataclass(frozen=True)
class GroundSize:
    """What a picture says of its ground size.

    Attributes:
        declared_m: declared metres per pixel.
        looks_like_m: metres per pixel that it looks like; None: unknown, which does not confirm the declared size.
    """

    declared_m: float
    looks_like_m: float | None = None

    @property
    def question(self) -> str:
        """One line that asks about a contradiction; empty if there is none."""
        if self.looks_like_m is None:
            return ""
        return (
            f"ground size: the picture looks like about {self.looks_like_m:.2g} m per pixel, enlarged; "
            f"{self.declared_m:.3g} m is declared: please check"
        )


def ground_size(windows: np.ndarray, declared_m: float) -> GroundSize:
    """Return whether a picture contradicts its declared ground size.

    Args:
        windows: (n, y, x) grey values 0..255, square windows of one picture; n may be 0.
        declared_m: metres per pixel.
    """
    factor = enlargement(windows)
    return GroundSize(declared_m, None if factor is None or factor < ENLARGED else declared_m * factor)


def enlargement(windows: np.ndarray) -> float | None:
    """Return by how much a picture seems enlarged: 1 if it has detail up to its pixels; None if it cannot be told.

    The radial power spectrum is compared with a power law through its highest part. The highest frequency at which it
    is less than `DROP` decades below that law is the end of the detail.

    Args:
        windows: (n, y, x) grey values 0..255, square.
    """
    count, side = windows.shape[0], windows.shape[-1]
    if not count or side < LEAST_PX:
        return None
    # a Hann window keeps the edges of the picture out of its spectrum
    taper = np.outer(np.hanning(side), np.hanning(side))
    level = windows - windows.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.rfft2(level * taper)) ** 2).mean(0).ravel()
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]).ravel()
    bins = np.digitize(radius, _EDGES) - 1
    inside = (bins >= 0) & (bins < len(_EDGES) - 1)
    members = np.bincount(bins[inside], minlength=len(_EDGES) - 1)
    mean = np.bincount(bins[inside], power[inside], len(_EDGES) - 1) / np.maximum(members, 1)
    whitened = mean * np.sqrt(_EDGES[:-1] * _EDGES[1:]) ** SLOPE
    reference = np.median(np.sort(whitened)[-5:])
    # rounding to integers adds white noise of variance 1/12; where it hides the end of the detail nothing can be told
    floor = (taper**2).sum() / 12
    if reference * 10**-DROP < floor * (0.5 / ENLARGED) ** SLOPE:
        return None
    last = int(np.flatnonzero(whitened > reference * 10**-DROP).max())
    return float(0.5 / _EDGES[last + 1])

"""Labels that are not used, and the ground that is unknown because of them.

A label that is left out may stand for a data center, so its ground is unknown and not background: the outline, or a
disc about a point. Where a label cannot be placed, or a file does not hold all labels, no ground is known to be
background; then `--unlabelled background` and `--empty` are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import grown

POINT_M = 200.0
"""Radius of the unknown ground about a point or line, metres; own choice: half the length of the largest halls."""
WHERE = "\0where"
"""Column with the name of a label in messages; no file can hold a column of that name."""
_SHOWN = 20  # labels named in the summary; own choice


@dataclass(frozen=True)
class LeftOut:
    """A label that is not used.

    Attributes:
        label: file and label, for messages.
        cause: why it is not used; one of few texts, which are counted.
        shape: its place, lon/lat, or working pixels of `image`; None if it has none.
        image: name of the image without georeference that it was drawn on; '' for a place on Earth.
        elsewhere: whether it lies on none of the given images.
    """

    label: str
    cause: str
    shape: shapely.Geometry | None = None
    image: str = ""
    elsewhere: bool = False


@dataclass
class Notes:
    """What reading label files showed besides their labels.

    Attributes:
        left_out: labels that are not used.
        cut_short: files that do not hold all labels, with the sign of it.
        not_read: what else the files hold or name: tables beside chosen layers, images that are not given.
        listed: images that a COCO file lists.
        by_image: whether some file says which images its labels were drawn on.
    """

    left_out: list[LeftOut] = field(default_factory=list)
    cut_short: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    listed: set[Path] = field(default_factory=set)
    by_image: bool = False


def check_background(notes: Notes) -> None:
    """Refuse to take ground without a label for background where labels may be missing.

    Raises:
        ConfigError: a file was cut short, or a label has no place.
    """
    advice = "so ground without a label may hold one: mend the file, or give --unlabelled ignore and no --empty"
    if notes.cut_short:
        raise ConfigError(f"{notes.cut_short[0]}, {advice}")
    lost = [k for k in notes.left_out if k.shape is None and not k.elsewhere]
    if lost:
        layers = (
            "; if a layer holds no labels, name those that do (--labels FILE:LAYER)" if "layer" in lost[0].label else ""
        )
        raise ConfigError(f"{lost[0].label}: {lost[0].cause}; {len(lost)} labels have no place, {advice}{layers}")


def unknown_ground(left_out: Sequence[LeftOut], images: Sequence[Image]) -> gpd.GeoDataFrame:
    """Return the ground of labels that are left out: geometry, and image as in a table of labels."""
    gsd_m = {i.name: i.gsd_m for i in images}
    shapes, names = [], []
    for k in left_out:
        if k.shape is None or k.elsewhere:
            continue
        shape = k.shape
        if shape.area == 0:
            shape = shape.buffer(POINT_M / gsd_m[k.image]) if k.image else grown(shape, POINT_M)
        shapes.append(shape)
        names.append(k.image)
    return gpd.GeoDataFrame({"image": np.array(names, dtype=object)}, geometry=shapes, crs=WGS84)


def summary(notes: Notes) -> dict[str, Any]:
    """Return the labels left out for `--json`: total, by cause, and the first ones."""
    causes = Counter(k.cause for k in notes.left_out)
    return {
        "total": len(notes.left_out),
        "by_cause": dict(sorted(causes.items())),
        "first": [f"{k.label}: {k.cause}" for k in notes.left_out[:_SHOWN]],
    }


def lines(left_out: dict[str, Any]) -> list[str]:
    """Return that summary as lines of text."""
    if not left_out["total"]:
        return []
    causes = "; ".join(f"{cause}: {n}" for cause, n in left_out["by_cause"].items())
    named = [f"  {text}" for text in left_out["first"][:5]]
    return [
        f"labels left out: {left_out['total']} ({causes}); on an image their ground is unknown, not background",
        *named,
    ]

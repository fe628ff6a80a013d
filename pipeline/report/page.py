"""The report: one self-contained HTML file that makes no network request.

In: `ReportData`, the tables of a run with its images and facts. Out: the text of one page, with a
content security policy that allows only its own style sheet and scripts, by their hashes. Every text
of the tables is untrusted: the template escapes it, and the map's data is JSON in a data block that
the script shows with `textContent` only.

`rasters` and `figures` make the images, `context` turns tables into values, `wording` holds the texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import jinja2
import pandas as pd
from xstatic.pkg import leaflet

from overwatt.pipeline.report import context as view
from overwatt.pipeline.report import wording
from overwatt.pipeline.report.inlined import digest, inline, read
from overwatt.pipeline.report.rasters import Basemap
from overwatt.pipeline.tables import empty


@dataclass(frozen=True)
class ReportData:
    """Content of a report.

    Attributes:
        title: heading of the page.
        area_name: name of the area that was searched.
        created: time of the run, ISO 8601.
        simulated: whether imagery and registry are simulated; the page then says so in a banner.
        sites: table `sites`.
        footprints: table `footprints`.
        declared: table `declared`, all rows.
        ledger: table `ledger`, ranked.
        looked_at: table `looked_at`.
        thermal: table `thermal`; may be empty.
        thermal_looks: table `thermal_looks`; may be empty.
        declared_inside: number of declared facilities in the area itself; the others lie near it. None if unknown.
        almost_listed: table `almost_listed`, the sites without a declaration that are not on the list.
        left_out: sentences on how many sites were left out of the list, and why.
        not_looked_at: rows of `declared` whose place was not looked at.
        basemap: image under the map.
        chips: site_id or declared_id -> JPEG, PNG or WebP bytes.
        facts: facts about the run: weights, scores, prior, tiles, sources, code version; `command` reproduces it.
        warnings: sentences to read before the list, shown in the summary.
        limits: sentences on how the numbers could be wrong and what imagery cannot verify.
        attribution: attribution lines of imagery and registries.
    """

    title: str
    sites: gpd.GeoDataFrame
    footprints: gpd.GeoDataFrame
    declared: gpd.GeoDataFrame
    ledger: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame
    area_name: str = ""
    created: str = ""
    simulated: bool = False
    thermal: pd.DataFrame = field(default_factory=lambda: empty("thermal"))
    thermal_looks: pd.DataFrame = field(default_factory=lambda: empty("thermal_looks"))
    declared_inside: int | None = None
    almost_listed: gpd.GeoDataFrame = field(default_factory=lambda: empty("almost_listed"))
    left_out: Sequence[str] = ()
    not_looked_at: gpd.GeoDataFrame = field(default_factory=lambda: empty("declared"))
    basemap: Basemap | None = None
    chips: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    limits: Sequence[str] = wording.LIMITS
    attribution: Sequence[str] = ()


def render_report(data: ReportData) -> str:
    """Return the report as the text of one self-contained HTML page; the same data give the same text."""
    style = inline(_leaflet("leaflet.css") + read("report.css"))
    scripts = [inline(_leaflet("leaflet.js")), inline(read("report.js"))]
    # nothing is allowed but data: images and what has one of these hashes (W3C Content Security Policy)
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {digest(style)}; script-src {' '.join(digest(s) for s in scripts)}"
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("mw", "count", "power_of_ten", "probability", "share", "prior", "distance", "areas"):
        environment.filters[name] = getattr(wording, name)
    template = environment.from_string(read("template.html.j2"))
    return template.render(policy=policy, style=style, scripts=scripts, **view.context(data))


def _leaflet(name: str) -> str:
    """Leaflet's file without references to other files: images, source maps, old VML."""
    text = (Path(leaflet.BASE_DIR) / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        # lines with url(...): marker images, and VML behaviours of old browsers
        text = re.sub(r"(?m)^.*url\([^)]*\);?\s*$", "", text)
    return re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text) + "\n"

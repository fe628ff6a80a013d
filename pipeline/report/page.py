"""The report: one self-contained HTML file that makes no network request.

In: `ReportData`, the tables of a run with its images and facts. Out: the text of one page, with a
content security policy that allows only its own style sheet and scripts, by their hashes. Every text
of the tables is untrusted: the template escapes it, and the map's data is JSON in a data block that
the script shows with `textContent` only.

`rasters` and `figures` make the images, `context` turns tables into values, `wording` holds the texts.
"""

from __future__ import annotations

import base64
import hashlib
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
from overwatt.pipeline.report.rasters import Basemap
from overwatt.pipeline.tables import empty

_HERE = Path(__file__).parent


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
    not_looked_at: gpd.GeoDataFrame = field(default_factory=lambda: empty("declared"))
    basemap: Basemap | None = None
    chips: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    limits: Sequence[str] = wording.LIMITS
    attribution: Sequence[str] = ()


def render_report(data: ReportData) -> str:
    """Return the report as the text of one self-contained HTML page; the same data give the same text."""
    style = _inline(_leaflet("leaflet.css") + _read("report.css"))
    scripts = [_inline(_leaflet("leaflet.js")), _inline(_read("report.js"))]
    # nothing is allowed but data: images and what has one of these hashes (W3C Content Security Policy)
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_digest(style)}; script-src {' '.join(_digest(s) for s in scripts)}"
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in ("mw", "count", "power_of_ten", "probability", "share", "distance"):
        environment.filters[name] = getattr(wording, name)
    template = environment.from_string(_read("template.html.j2"))
    return template.render(policy=policy, style=style, scripts=scripts, **view.context(data))


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _leaflet(name: str) -> str:
    """Leaflet's file without references to other files: images, source maps, old VML."""
    text = (Path(leaflet.BASE_DIR) / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        # lines with url(...): marker images, and VML behaviours of old browsers
        text = re.sub(r"(?m)^.*url\([^)]*\);?\s*$", "", text)
    return re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text) + "\n"


def _inline(text: str) -> str:
    """The text as a browser hashes it (line ends LF); it must not close its own element."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</(script|style)|<!--", text, re.IGNORECASE):
        raise ValueError("a style sheet or script of the report would close its own element")
    return text


def _digest(text: str) -> str:
    """Hash source of the Content Security Policy (CSP Level 2)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

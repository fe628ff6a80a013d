"""The report: one HTML file with everything in it, that opens anywhere and asks nobody.

In: `ReportData`, the tables of a run with its pictures and facts. Out: the text of one page, without
any request to a network, under a content security policy that allows only its own style sheet and
scripts, by their hashes. Every text of the tables is untrusted: the template escapes it, and the
map's data is JSON in a data block that the script writes with `textContent` alone.

`pictures` and `plot` make the images, `view` turns tables into values, `words` holds the wording.
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
    """What a report is made of.

    Attributes:
        title: heading of the page.
        area_name: of the area that was searched.
        created: time of the run, ISO 8601.
        simulated: whether imagery and registry are simulated; says so on the page, large.
        sites: table `sites`, as are the next of the same name.
        footprints: table `footprints`.
        declared: table `declared`, all of it.
        ledger: table `ledger`, ranked.
        looked_at: table `looked_at`.
        thermal: table `thermal`; may be empty.
        thermal_looks: table `thermal_looks`; may be empty.
        not_looked_at: rows of `declared` whose place was not looked at.
        basemap: picture under the map.
        chips: site_id or declared_id to JPEG, PNG or WebP bytes.
        facts: what ran: weights, scores, prior, tiles, sources, code version; `command` reproduces it.
        limits: sentences on how the numbers could be wrong and what imagery cannot verify.
        attribution: of imagery and registries.
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
    not_looked_at: gpd.GeoDataFrame = field(default_factory=lambda: empty("declared"))
    basemap: Basemap | None = None
    chips: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = wording.LIMITS
    attribution: Sequence[str] = ()


def render_report(data: ReportData) -> str:
    """Return the report as the text of one self-contained HTML page; the same data, the same text."""
    style = _inline(_leaflet("leaflet.css") + _read("report.css"))
    scripts = [_inline(_leaflet("leaflet.js")), _inline(_read("report.js"))]
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
    """Leaflet's file without what would ask for other files: pictures, source maps, the VML of old."""
    text = (Path(leaflet.BASE_DIR) / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        text = re.sub(r"(?m)^.*url\([^)]*\);?\s*$", "", text)
    return re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text) + "\n"


def _inline(text: str) -> str:
    """The text as a browser will hash it; it must not end its own element."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</(script|style)|<!--", text, re.IGNORECASE):
        raise ValueError("a style sheet or script of the report would end its own element")
    return text


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

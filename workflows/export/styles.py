"""Colours of the classes, and styles for QGIS (QML) made from them.

In: nothing. Out: `COLORS`, `LABELS`, `DRAWN`, `qml`. The colours are those of Okabe and Ito (2008), which most
colour-blind readers can distinguish. Grey stands for what needs no action, and for empty cells.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from overwatt.pipeline.tables import LEDGER_CLASSES

COLORS = dict(
    zip(
        LEDGER_CLASSES,
        ("#999999", "#d55e00", "#e69f00", "#56b4e9", "#0072b2", "#cc79a7", "#009e73", "#f0e442"),
        strict=True,
    )
) | {"nothing found": "#bbbbbb", "not looked at": "#555555"}
"""Colour of each class of entry, and of each stratum of drawn cells."""
LABELS = {
    "matched": "matched",
    "undeclared": "seen, nowhere declared",
    "above_declared": "observed above declared",
    "below_declared": "observed below declared",
    "not_seen": "declared, not seen",
    "type_mismatch": "other use declared",
    "status_mismatch": "other status declared",
    "position_mismatch": "further off than stated",
    "nothing found": "cell, nothing found",
    "not looked at": "cell, not looked at",
}
DRAWN = "#e6007e"
"""Colour of the outlines of drawn visits; own choice: in no class, and not of any ground."""
STATES = {
    "looked": ("#009e73", "looked at"),
    "not_screened": ("#999999", "not looked at"),
    "failed": ("#d55e00", "failed: nothing is known"),
}
"""States of a cell of the table `looked_at`: colour and label."""
# geometry: symbol type, symbol layer and geometry number of QGIS
_KINDS = {
    "points": ("marker", "SimpleMarker", 0),
    "lines": ("line", "SimpleLine", 1),
    "areas": ("fill", "SimpleFill", 2),
}


def qml(kind: str, column: str, categories: list[tuple[str, str, str]], *, title: str, faint: bool = False) -> str:
    """Return a categorised QGIS style (QML).

    Args:
        kind: `points`, `lines` or `areas`.
        column: column with the categories.
        categories: value, label, colour '#rrggbb'; other values get a grey symbol, with value ''.
        title: column shown as map tip.
        faint: fill areas with an opacity of 12% instead of 55%.
    """
    symbol, layer, number = _KINDS[kind]
    rows = [*categories, ("", "other", "#b0b0b0")]
    listed = "".join(
        f'<category render="true" type="string" symbol="{n}" value={quoteattr(v)} label={quoteattr(words)}/>'
        for n, (v, words, _) in enumerate(rows)
    )
    symbols = "".join(_symbol(n, c, symbol, layer, faint) for n, (_, _, c) in enumerate(rows))
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.28.0" styleCategories="Symbology|MapTips" hasScaleBasedVisibilityFlag="0">'
        f'<renderer-v2 type="categorizedSymbol" attr={quoteattr(column)} symbollevels="0" forceraster="0" '
        f'enableorderby="0"><categories>{listed}</categories><symbols>{symbols}</symbols>'
        "<rotation/><sizescale/></renderer-v2>"
        f"<mapTip>{escape(f'[% {chr(34)}{title}{chr(34)} %]')}</mapTip>"
        f"<layerGeometryType>{number}</layerGeometryType></qgis>"
    )


def _symbol(n: int, color: str, symbol: str, layer: str, faint: bool) -> str:
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    # of 255: 12% and 55%
    opacity = (32 if faint else 140) if symbol == "fill" else 255
    own = {"color": f"{red},{green},{blue},{opacity}", "outline_color": "35,35,35,255", "outline_style": "solid",
           "outline_width": "0.2", "outline_width_unit": "MM"}  # fmt: skip
    if symbol == "marker":
        own |= {"name": "circle", "size": "3", "size_unit": "MM"}
    elif symbol == "fill":
        own |= {"outline_color": f"{red},{green},{blue},255", "outline_width": "0.5", "style": "solid"}
    else:
        own = {"line_color": f"{red},{green},{blue},255", "line_style": "solid", "line_width": "0.6",
               "line_width_unit": "MM"}  # fmt: skip
    # QGIS reads Option since 3.20, and prop before
    options = "".join(f'<Option type="QString" name="{k}" value="{v}"/>' for k, v in own.items())
    props = "".join(f'<prop k="{k}" v="{v}"/>' for k, v in own.items())
    return (
        f'<symbol name="{n}" type="{symbol}" alpha="1" clip_to_extent="1" force_rhr="0">'
        f'<layer class="{layer}" pass="0" enabled="1" locked="0"><Option type="Map">{options}</Option>{props}</layer>'
        "</symbol>"
    )

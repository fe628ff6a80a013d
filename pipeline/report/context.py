"""From tables to the values that the report's template shows: counts, rows, cards and map features.

In: `ReportData`. Out: one dictionary of plain values. Nothing here is HTML: texts are not changed,
the template escapes them, and all map data goes through `safe_json`. Longitudes are unwrapped
about the middle of the screened area, so a map across the antimeridian is in one piece.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.errors import redact
from overwatt.aoi.geodesy import centres
from overwatt.pipeline.coverage import OUTSIDE, asked_share, looked_area_km2
from overwatt.pipeline.report import estimates, rasters, wording
from overwatt.pipeline.report.figures import power_intervals
from overwatt.pipeline.tables import QUANTILE_NAMES

if TYPE_CHECKING:
    from overwatt.pipeline.report.page import ReportData

Row = dict[str, Any]
_MAX_TILES_LISTED = 200  # incomplete tiles in the list; the others are only counted
_MAX_LOOKS_DRAWN = 80  # acquisitions drawn on a card; own choice, dots 4 units apart can be told apart
_MAX_ALMOST = 100  # almost listed sites in the table; the others are only counted
_MAX_CARDS = 1000  # cards, those of the list first; the others are in the tables; own choice
_MAX_OUTLINES = 20_000  # footprints on the map, those nearest to the sites with cards; own choice
_BAR_PX = 560.0  # width of an interval bar, units of its SVG


def context(data: ReportData) -> Row:
    """Return the values for the template, except style, scripts and policy.

    URLs in reasons and facts lose their query strings: a signed link gives access.
    """
    reasons = [redact(str(reason)) for reason in data.looked_at["reason"]]
    data = replace(
        data,
        looked_at=data.looked_at.assign(reason=reasons),
        facts={key: redact(value) for key, value in data.facts.items()},
    )
    names = {str(r["declared_id"]): _text(r["name"]) or str(r["declared_id"]) for r in _rows(data.declared)}
    sites = {str(r["site_id"]): r for r in _rows(data.sites)}
    ledger = _rows(data.ledger.sort_values("rank"))
    anchor: dict[str, str] = {}
    for row in ledger:
        anchor.setdefault(_key(row), f"card-{len(anchor) + 1}")
    left = _rows(data.almost_listed.sort_values("rank"))
    for site_id in dict.fromkeys([*(row["site_id"] for row in left), *sites]):
        if len(anchor) >= _MAX_CARDS:
            break
        anchor.setdefault(f"s:{site_id}", f"card-{len(anchor) + 1}")
    for site_id in data.thermal["site_id"]:
        if str(site_id) not in sites:  # a known site, examined in surface temperature alone
            anchor.setdefault(f"t:{site_id}", f"card-{len(anchor) + 1}")
    entries = [_entry(row, sites, names, anchor[_key(row)]) for row in ledger]
    almost = [
        {**_entry(row, sites, names, anchor.get(_key(row))), "left_out": wording.LEFT_OUT[row["left_out"]]}
        for row in left
    ]
    counts = data.ledger["class"].value_counts()
    covered = _coverage(data.looked_at)
    known = data.sites[data.sites["it_mw_p50"].notna()]
    outlines = _near(data.footprints, data.sites[[f"s:{name}" in anchor for name in data.sites["site_id"]]])
    return {
        "data": data,
        "outlines": (len(outlines), len(data.footprints)),
        "without_card": sum(f"s:{name}" not in anchor for name in sites),
        "entries": entries,
        "almost": almost,
        "most_almost": _MAX_ALMOST,
        "order": estimates.order(ledger[0]["ranked_by"] if ledger else None),
        "innocent": wording.innocent(_p_innocent(data.ledger)),
        "searched": len(data.looked_at) > 0,  # a run on known sites has no tiles
        "cards": _cards(data, sites, entries, anchor, almost),
        "classes": [
            {"name": c, "label": wording.CLASS_LABEL[c], "meaning": m, "count": int(counts.get(c, 0))}
            for c, m in wording.CLASS_MEANING.items()
        ],
        "questions": int(len(ledger) - counts.get("matched", 0)),
        "coverage": covered,
        "rest": wording.not_looked_at(1.0 - covered["share"], len(data.not_looked_at)),
        "priors": wording.priors([row["prior"] for row in sites.values()]),
        "unseen": [{**row, "name": _text(row["name"]), **_declared_mw(row)} for row in _rows(data.not_looked_at)],
        "sources": _sources(data.declared),
        "quantities": wording.QUANTITIES,
        "map_marks": wording.MAP_MARKS,
        "card_marks": set(data.footprints["class"]) if data.chips else set(),
        "marks": [*wording.CLASS_LABEL.items(), *wording.MAP_MARKS.items()],
        "ladder": wording.ladder(),
        "heat_mw": wording.HEAT_MW,
        "plot": power_intervals.interval_plot(known, data.ledger) if len(known) else "",
        "plotted": min(len(known), power_intervals.MAX_ROWS),
        "basemap": None if data.basemap is None else _uri(rasters.encode(data.basemap)),
        "map_json": safe_json(_map(replace(data, footprints=outlines), entries, anchor)),
    }


def safe_json(value: object) -> str:
    """Return JSON that is safe inside a script element: no `<`, `>`, `&` or line separators."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rows(frame: pd.DataFrame) -> list[Row]:
    """Rows as dictionaries, with None for every missing value."""
    plain = frame.drop(columns="geometry", errors="ignore")
    names = [str(c) for c in plain.columns]
    rows = plain.astype(object).where(plain.notna(), None).itertuples(index=False, name=None)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _key(row: Row) -> str:
    return f"s:{row['site_id']}" if row["site_id"] is not None else f"d:{row['declared_id']}"


def _entry(row: Row, sites: dict[str, Row], names: dict[str, str], anchor: str | None) -> Row:
    site = sites.get(_text(row["site_id"]))
    return {
        **row,
        "label": wording.CLASS_LABEL[row["class"]],
        "anchor": anchor,
        "name": names.get(_text(row["declared_id"]), _text(row["declared_id"])),
        **{name: wording.evidence(row[name]) for name in ("evidence_for", "evidence_against", "settles")},
        "unmatched": wording.no_declaration(row["p_match"]),
        "p10": None if site is None else site["it_mw_p10"],
        "p50": None if site is None else site["it_mw_p50"],
        "p90": None if site is None else site["it_mw_p90"],
        "reason": wording.first_sentence(wording.evidence(row["evidence_for"])),
        "prior": None if site is None else site["prior"],
        "next": wording.next_step(row),
    }


def _p_innocent(ledger: gpd.GeoDataFrame) -> list[float]:
    """Probability that a listed site without a declaration is no data center or some declared one, for each."""
    alone = ledger[ledger["class"] == "undeclared"]
    p = alone["p_data_center"].to_numpy(float) * (1.0 - alone["p_match"].fillna(0.0).to_numpy(float))
    return [float(v) for v in 1.0 - p]


def _cards(
    data: ReportData, sites: dict[str, Row], entries: list[Row], anchor: dict[str, str], almost: list[Row]
) -> list[Row]:
    """One card per site, and one per declaration that was not seen, in the order of the ledger."""
    of: dict[str, list[Row]] = {}
    for entry in entries:
        of.setdefault(_key(entry), []).append(entry)
    left = {_key(entry): entry for entry in almost}
    declared = {str(r["declared_id"]): r for r in _rows(data.declared)}
    thermal = {str(r["site_id"]): r for r in _rows(data.thermal)}
    looks: dict[str, list[Row]] = {}
    for look in _rows(data.thermal_looks):
        looks.setdefault(str(look["site_id"]), []).append(look)
    stated = [e["declared_it_mw"] for e in entries if e["declared_it_mw"]]
    known = [s for s in sites.values() if s["it_mw_p50"] is not None]
    power = _decades([s[f"it_mw_{q}"] for s in known for q in ("p05", "p95")] + stated)
    # all cards share an axis, which always shows 1e24 to 1e26
    flop = _decades([1e24, 1e26] + [s[f"flop_90d_{q}"] for s in known for q in ("p10", "p95")])
    cards = []
    for key, name in anchor.items():
        item, mine = key[2:], of.get(key, [])
        card: Row = {
            "anchor": name,
            "id": item,
            "entries": mine,
            "almost": left.get(key),
            "class": mine[0]["class"] if mine else "none",
            "label": mine[0]["label"] if mine else "Known site" if key[0] == "t" else "Almost listed",
            "chip": _uri(data.chips[item]) if item in data.chips else None,
            "site": sites.get(item) if key[0] == "s" else None,
            "declared": declared.get(item) if key[0] == "d" else None,
            "thermal": thermal.get(item) if key[0] in "st" else None,
            "looks": _dots(looks.get(item, [])) if key[0] in "st" else [],
            **dict.fromkeys(("evidence", "kinds", "some", "power_bar", "flop_bar")),
        }
        if card["site"] is not None:
            site = card["site"]
            card |= {"evidence": estimates.evidence(site), "kinds": estimates.kinds(site)}
        if card["site"] is not None and site["it_mw_p50"] is not None:
            card["some"] = estimates.none_or_some(site)
            marks = [(e["declared_it_mw"], "declared") for e in mine if e["declared_it_mw"]]
            card["power_bar"] = _bar({q: site[f"it_mw_{q}"] for q in QUANTILE_NAMES}, power, marks[:3])
            card["flop_bar"] = _bar({q: site[f"flop_90d_{q}"] for q in QUANTILE_NAMES}, flop, (), powers=True)
        cards.append(card)
    return cards


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """The powers of ten around the positive `values`, at least one and at most five decades."""
    logs = [math.log10(v) for v in values if v > 0]
    low, high = math.floor(min(logs, default=0.0)), math.ceil(max(logs, default=2.0))
    return max(low, high - 5), max(high, low + 1)


def _bar(
    quantiles: dict[str, float],
    decades: tuple[int, int],
    marks: Sequence[tuple[float, str]],
    powers: bool = False,
) -> Row:
    """Positions of quantiles, ticks and marks on a logarithmic bar of `_BAR_PX` units.

    Tick labels are powers of ten if `powers` is set, else numbers.
    """
    low, high = decades

    def x(value: float) -> float:
        part = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return round(_BAR_PX * min(max(part, 0.0), 1.0), 1)

    return {
        **{name: x(value) for name, value in quantiles.items()},
        "ticks": [
            (x(10.0**n), f"10{str(n).translate(wording.SUPERSCRIPT)}" if powers else f"{10.0**n:,g}")
            for n in range(low, high + 1)
        ],
        "below": quantiles["p05"] < 10.0**low,
        "marks": [(x(v), label, v) for v, label in marks if 10.0**low <= v <= 10.0**high],
    }


def _dots(looks: list[Row]) -> list[Row]:
    """Surface temperature excess by acquisition, for a strip of 300 by 50 units; 0 K is at y = 24."""
    shown = sorted((r for r in looks if r["excess_k"] is not None), key=lambda r: r["time"])[-_MAX_LOOKS_DRAWN:]
    top = max((abs(r["excess_k"]) for r in shown), default=0.0) or 1.0
    return [
        {**r, "x": round(4 + 292 * (n + 0.5) / len(shown), 1), "y": round(24 - 20 * r["excess_k"] / top, 1)}
        for n, r in enumerate(shown)
    ]


def _declared_mw(row: Row) -> Row:
    if row["it_mw"] is not None:
        return {"mw": row["it_mw"], "mw_kind": "IT"}
    return {"mw": row["facility_mw"], "mw_kind": "facility"}


def _coverage(looked_at: gpd.GeoDataFrame) -> Row:
    cells = _rows(looked_at)
    done = [c for c in cells if c["screened"] and not c["failed"]]
    # 0.999: rounding of the imaged area must not make a full tile incomplete
    open_ = [c for c in cells if c["failed"] or not c["screened"] or c["imaged"] < 0.999 or c["clear_looks"] == 0]
    open_.sort(key=lambda c: (not c["failed"], c["screened"], c["imaged"], str(c["cell"])))
    return {
        "tiles": len(cells),
        "done": len(done),
        "failed": sum(bool(c["failed"]) for c in cells),
        "skipped": sum(not c["failed"] and not c["screened"] for c in cells),
        "share": round(asked_share(looked_at), 6),  # rounding of areas must not leave a rest
        "asked_km2": float(looked_at["asked_km2"].sum()) if looked_at["asked_km2"].notna().any() else None,
        "km2": looked_area_km2(looked_at),
        "looks": sorted({int(c["clear_looks"]) for c in done}),
        "open": open_[:_MAX_TILES_LISTED],
        "open_total": len(open_),
    }


def _sources(declared: gpd.GeoDataFrame) -> list[tuple[str, str, int]]:
    pairs = declared[["source", "licence"]].fillna("").astype(str).value_counts()
    return sorted((s or "not named", licence or "not stated", int(n)) for (s, licence), n in pairs.items())


def _uri(picture: bytes) -> str:
    for start, kind in ((b"\xff\xd8", "jpeg"), (b"\x89PNG", "png"), (b"RIFF", "webp")):
        if picture.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    raise ValueError(f"a picture starts with {picture[:4]!r}: neither JPEG, PNG nor WebP")


def _map(data: ReportData, entries: list[Row], anchor: dict[str, str]) -> Row:
    """Features of the map: geometries as GeoJSON, texts as lists of lines."""
    boxes = [f for f in (data.looked_at, data.sites, data.declared) if len(f)]
    middle = 0.0
    if data.basemap is not None:
        middle = (data.basemap.bounds[0] + data.basemap.bounds[2]) / 2
    elif boxes:
        middle = float(np.median(centres(_solid(boxes[0]))[:, 0])) if len(_solid(boxes[0])) else 0.0
    best = {e["anchor"]: e for e in reversed(entries)}
    sites = []
    for row, shape in zip(_rows(data.sites), _shapes(data.sites, middle), strict=True):
        name = anchor.get(f"s:{row['site_id']}")
        entry = best.get(name) if name else None
        text = [
            str(row["site_id"]),
            entry["label"] if entry else "Almost listed",
            "IT power unknown"
            if row["it_mw_p50"] is None
            else f"IT power {wording.mw(row['it_mw_p50'])} MW (80%: {wording.mw(row['it_mw_p10'])} to "
            f"{wording.mw(row['it_mw_p90'])})",
            f"data center with probability {wording.probability(row['p_data_center'])} ({wording.prior(row['prior'])})",
        ]
        point = [round(middle + (row["lon"] - middle + 180) % 360 - 180, 6), row["lat"]]
        klass = entry["class"] if entry else "none"
        sites.append({"a": name, "c": klass, "n": entry["rank"] if entry else None, "p": point, "g": shape, "t": text})
    unseen = {str(i) for i in data.not_looked_at["declared_id"]}
    alone = {str(e["declared_id"]): e["rank"] for e in entries if e["site_id"] is None}
    listed = {str(e["declared_id"]): e["anchor"] for e in reversed(entries) if e["declared_id"] is not None}
    names = data.declared["name"].value_counts()
    # a known site has its declaration's name, and a number at the second of a name: no place for those
    known = {key[2:]: name for key, name in anchor.items() if key[0] == "t" and names.get(key[2:]) == 1}
    declared = [
        {
            "g": shape,
            "r": round(row["position_error_m"], 1),
            "a": listed.get(str(row["declared_id"])) or known.get(_text(row["name"])),
            "n": alone.get(str(row["declared_id"])),
            "t": [
                _text(row["name"]) or str(row["declared_id"]),
                "Declared"
                + (f" by {row['operator']}" if row["operator"] else "")
                + (", place not looked at" if str(row["declared_id"]) in unseen else ""),
                f"stated position error {wording.distance(row['position_error_m'])}",
            ],
        }
        for row, shape in zip(_rows(data.declared), _shapes(data.declared, middle), strict=True)
        if shape
    ]
    outlines = zip(data.footprints["class"].astype(str), _shapes(data.footprints, middle), strict=True)
    tiles = zip(_rows(data.looked_at), _shapes(data.looked_at, middle), strict=True)
    return {
        "classes": [*wording.CLASS_LABEL, "none"],
        "picture": None if data.basemap is None else [float(v) for v in data.basemap.bounds],
        "sites": sites,
        "declared": declared,
        "footprints": [{"c": klass, "g": shape} for klass, shape in outlines if shape],
        "failed": [
            {"g": shape, "t": [f"Tile {t['cell']}", "failed" if t["failed"] else "not screened", t["reason"]]}
            for t, shape in tiles
            # ground without an image is in the shade, and no tile of it was tried
            if shape and (t["failed"] or not t["screened"]) and t["reason"] != OUTSIDE
        ],
        **_shade(data.looked_at, middle),
    }


def _near(footprints: gpd.GeoDataFrame, sites: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the footprints that the map shows: at most `_MAX_OUTLINES`, those nearest to the sites."""
    if len(footprints) <= _MAX_OUTLINES:
        return footprints
    place = centres(np.asarray(footprints.geometry, dtype=object))
    of = centres(_solid(sites)) if len(_solid(sites)) else place[:1]
    # degrees of longitude shrink with the cosine of latitude; longitudes from the first site on, across 180 degrees
    scale = np.array([np.cos(np.radians(of[0, 1])), 1.0])
    place, of = (
        np.column_stack([(xy[:, 0] - of[0, 0] + 180.0) % 360.0 - 180.0, xy[:, 1]]) * scale for xy in (place, of)
    )
    far = cKDTree(of).query(place)[0]
    chosen = np.sort(np.argsort(far, kind="stable")[:_MAX_OUTLINES])
    return footprints.iloc[chosen]


def _solid(frame: gpd.GeoDataFrame) -> np.ndarray:
    shapes = np.asarray(frame.geometry, dtype=object)
    return shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]


def _unwrap(shapes: np.ndarray, middle: float) -> np.ndarray:
    """Geometries with longitudes within 180 degrees of `middle`, at 6 decimals (0.1 m)."""
    lonlat = shapely.get_coordinates(shapes)
    lonlat[:, 0] = middle + (lonlat[:, 0] - middle + 180.0) % 360.0 - 180.0
    return shapely.set_coordinates(shapely.force_2d(shapes), np.round(lonlat, 6))


def _shapes(frame: gpd.GeoDataFrame, middle: float) -> list[Any]:
    shapes = np.asarray(frame.geometry, dtype=object)
    good = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    texts = np.full(len(shapes), None, dtype=object)
    texts[good] = shapely.to_geojson(_unwrap(shapes[good], middle))
    return [None if text is None else json.loads(text) for text in texts]


def _shade(looked_at: gpd.GeoDataFrame, middle: float) -> Row:
    """The area that was not looked at: a wide box around all cells, minus the screened cells."""
    usable = looked_at["screened"].to_numpy(bool) & ~looked_at["failed"].to_numpy(bool)
    cells = _unwrap(_solid(looked_at[usable]), middle)
    every = _unwrap(_solid(looked_at), middle)
    if not len(every):
        return {"shade": None, "bounds": None}
    west, south, east, north = (float(v) for v in shapely.total_bounds(every))
    pad = max(1.0, 3 * (east - west), 3 * (north - south))
    # 85 degrees: limit of the Mercator projection of the map
    wide = shapely.box(west - pad, max(-85.0, south - pad), east + pad, min(85.0, north + pad))
    rest = wide.difference(shapely.union_all(shapely.make_valid(cells)))
    return {"shade": json.loads(shapely.to_geojson(rest)), "bounds": [west, south, east, north]}

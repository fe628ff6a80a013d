"""Test whether Landsat surface temperature distinguishes Münster's three known data centers from other buildings.

In: the folder `muenster` of the real data (twelve Landsat surface temperatures, land cover, three points). Out: a
plot, and tables between the markers of docs/thermal-muenster.md; the last line of standard output is the result as
one JSON object. A surface temperature anomaly alone is no evidence, because every building is warmer than a field. So
each data center is ranked among known-negative controls of the same footprint:

- built-up: random places within 6 km, at least half built-up;
- matched: places of the scene with a similar built-up share, both of the place and of its ring.

    python benchmarks/thermal_muenster.py --data ../shared/data/muenster --out-docs docs
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from scipy.signal import fftconvolve
from shapely.geometry import shape

from overwatt.pipeline.sites.thermal_anomaly import COUPLING_K_M2_PER_MW, FLOOR_SIGMAS, MAD_TO_SD, thermal_anomaly
from overwatt.workflows.io.temperature_stack import load_stack

SEED, CONTROLS = 20260801, 300
BUILT_UP, WATER = 1, 2
REACH_M = 6000.0
EDGE_M = 600.0  # minimum distance of controls to the image's edge, about that of the northernmost data center
APART_M = 100.0  # minimum distance between controls: one sensor footprint
AROUND_SITES_M = 300.0  # no controls this close to a data center
OWN_WITHIN, RING_WITHIN = 0.15, 0.10  # tolerance of the built-up shares of a matched control
SITE_RADIUS_M = 100.0 / np.sqrt(np.pi)  # `evidence` represents a point by a disc of this radius
MIN_WATER_M2 = 2500.0  # smaller water patches of the land cover are often shadow
COLOURS = ("#0b6e99", "#b3541e", "#5b7f22")


@dataclass(frozen=True)
class Scene:
    """Data of the study, in the CRS of the grid."""

    stack: xr.DataArray
    grid: GeoBox
    sites: gpd.GeoDataFrame
    water: gpd.GeoDataFrame
    own_built: np.ndarray  # (y, x) built-up share of a disc of a site's size around each 10 m cell
    ring_built: np.ndarray  # (y, x) built-up share of the ring around that disc
    x: np.ndarray
    y: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/muenster"))
    parser.add_argument("--out-docs", type=Path, help="docs folder to update; if omitted, nothing is written")
    parser.add_argument("--controls", type=int, default=CONTROLS, help="number of controls of each kind per site")
    options = parser.parse_args()
    scene = read_scene(options.data)
    result, looks, controls = study(scene, options.controls)
    if options.out_docs:
        images = options.out_docs / "images"
        images.mkdir(parents=True, exist_ok=True)
        figure = plot(result, looks, controls)
        mpl.rcParams["svg.hashsalt"] = "overwatt"
        figure.savefig(images / "thermal-muenster.svg", metadata={"Date": None})
        plt.close(figure)
        put_tables(options.out_docs / "thermal-muenster.md", result, looks, controls)
    print(json.dumps(result))


def read_scene(folder: Path) -> Scene:
    """Read the data folder; water and built-up shares are computed from its land cover."""
    stack, grid = load_stack(sorted(folder.glob("*_ST_B10.TIF")), unit="celsius")
    sites = gpd.read_file(folder / "known_datacenters.geojson").to_crs(str(grid.crs))
    sites["site_id"] = sites["name"]
    with rasterio.open(folder / "landcover_10m.tif") as file:
        cover, at = file.read(1), file.transform
    polygons = [shape(s) for s, _ in shapes(cover, mask=cover == WATER, transform=at)]
    water = gpd.GeoDataFrame(geometry=polygons, crs=sites.crs)
    built = (cover == BUILT_UP).astype(float)
    rows, columns = np.mgrid[: cover.shape[0], : cover.shape[1]]
    return Scene(
        stack,
        grid,
        sites,
        water[water.area >= MIN_WATER_M2],
        fftconvolve(built, _disc(0.0, SITE_RADIUS_M), mode="same"),
        fftconvolve(built, _disc(SITE_RADIUS_M + 150.0, SITE_RADIUS_M + 750.0), mode="same"),
        at.c + (columns + 0.5) * at.a,
        at.f + (rows + 0.5) * at.e,
    )


def study(scene: Scene, count: int) -> tuple[dict, pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """Return (result, acquisitions of the data centers, acquisitions of the controls by site and kind)."""
    # exclude the data centers, buffered by one sensor footprint, from all background rings
    keep_out = pd.concat([scene.water[["geometry"]], scene.sites.buffer(100.0).to_frame("geometry")])
    table, looks = thermal_anomaly(scene.stack, scene.grid, scene.sites, exclude=keep_out, daytime=True)
    rng = np.random.default_rng(SEED)
    controls: dict[tuple[str, str], pd.DataFrame] = {}
    rows = []
    built_up: list[gpd.GeoDataFrame] = []
    for row, point in zip(table.to_dict("records"), scene.sites.geometry, strict=True):
        name = row["site_id"]
        r, c = np.unravel_index(np.argmin(np.hypot(scene.x - point.x, scene.y - point.y)), scene.x.shape)
        own, ring = scene.own_built[r, c], scene.ring_built[r, c]
        inside = _inside(scene)
        near = inside & (np.hypot(scene.x - point.x, scene.y - point.y) < REACH_M) & (scene.own_built >= 0.5)
        alike = inside & (abs(scene.own_built - own) < OWN_WITHIN) & (abs(scene.ring_built - ring) < RING_WITHIN)
        row |= {"own_built_share": float(own), "ring_built_share": float(ring)}
        for kind, allowed in (("built_up", near), ("matched", alike)):
            places = _draw(scene, allowed, count, rng)
            if kind == "built_up":
                built_up.append(places)
            ours, theirs = looks[looks["site_id"] == name], evidence_looks(scene, places, keep_out)
            controls[name, kind] = theirs
            row |= _compare(ours, theirs, kind)
        row.pop("statement")
        rows.append(row)
    ordinary = pd.concat([theirs for (_, kind), theirs in controls.items() if kind == "built_up"])
    result = {
        "benchmark": "thermal_muenster",
        "looks": int(scene.stack.sizes["time"]),
        "sites": [{k: round(v, 3) if isinstance(v, float) else v for k, v in r.items()} for r in rows],
        "built_up_looks_above_z3": round(float((ordinary["robust_z"] >= FLOOR_SIGMAS).mean()), 4),
        "floor_mw_design": round(float(np.median([r["floor_mw"] for r in rows]))),
        "floor_mw_from_controls": round(_floor_from_controls(scene, pd.concat(built_up), keep_out)),
    }
    return result, looks, controls


def evidence_looks(scene: Scene, places: gpd.GeoDataFrame, keep_out: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return the used acquisitions of `evidence` at these places."""
    _, looks = thermal_anomaly(scene.stack, scene.grid, places, exclude=keep_out)
    return looks[looks["used"]]


def _compare(ours: pd.DataFrame, theirs: pd.DataFrame, kind: str) -> dict[str, float]:
    """Return the percentiles of the data center among the controls, and the controls' median anomaly."""
    median = theirs.groupby("site_id")["excess_k"].median()
    own = ours.loc[ours["used"], "excess_k"].median()
    by_look = [
        _percentile(row["excess_k"], theirs.loc[theirs["time"] == row["time"], "excess_k"])
        for _, row in ours[ours["used"]].iterrows()
    ]
    return {
        f"{kind}_controls": len(median),
        f"{kind}_median_k": float(median.median()),
        f"{kind}_percentile": _percentile(own, median),
        f"{kind}_percentile_look_min": min(by_look),
        f"{kind}_percentile_look_max": max(by_look),
    }


def _percentile(value: float, among: pd.Series) -> float:
    """Return the share of `among` below `value`, in percent; ties count half."""
    return float(100.0 * ((among < value).mean() + 0.5 * (among == value).mean()))


def _floor_from_controls(scene: Scene, places: gpd.GeoDataFrame, keep_out: gpd.GeoDataFrame) -> float:
    """Return the 3-sigma detection limit in MW from the scatter of E among built-up places.

    It checks `floor_mw`, which assumes independent sensor footprints; here only S is assumed.
    """
    discs = places.set_geometry(places.buffer(SITE_RADIUS_M + 100.0))
    table, _ = thermal_anomaly(scene.stack, scene.grid, discs, exclude=keep_out, ring_inner_m=50.0, ring_outer_m=650.0)
    e = table["lst_excess_k"].dropna() * discs.area.iloc[0]
    # robust standard deviation: median absolute deviation scaled to a normal distribution
    sd = MAD_TO_SD * float((e - e.median()).abs().median())
    return FLOOR_SIGMAS * sd / COUPLING_K_M2_PER_MW


def _inside(scene: Scene) -> np.ndarray:
    """Return (y, x) bool: cells far enough from the image's edge and from the data centers."""
    west, south, east, north = scene.grid.extent.boundingbox.bbox
    ok = (scene.x > west + EDGE_M) & (scene.x < east - EDGE_M)
    ok &= (scene.y > south + EDGE_M) & (scene.y < north - EDGE_M)
    for point in scene.sites.geometry:
        ok &= np.hypot(scene.x - point.x, scene.y - point.y) > AROUND_SITES_M
    return ok


def _draw(scene: Scene, allowed: np.ndarray, count: int, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """Draw up to `count` of the allowed cells at random, at least `APART_M` from each other."""
    cells = np.flatnonzero(allowed)
    rng.shuffle(cells)
    taken = np.empty((0, 2))
    for cell in cells:
        place = np.array([[scene.x.flat[cell], scene.y.flat[cell]]])
        if len(taken) == 0 or np.min(np.hypot(*(taken - place).T)) >= APART_M:
            taken = np.vstack([taken, place])
        if len(taken) == count:
            break
    points = gpd.points_from_xy(taken[:, 0], taken[:, 1], crs=scene.sites.crs)
    return gpd.GeoDataFrame({"site_id": [f"control-{i:03d}" for i in range(len(points))]}, geometry=points)


def _disc(inner_m: float, outer_m: float, cell_m: float = 10.0) -> np.ndarray:
    """Return a normalised convolution kernel: a ring, or a disc for an inner radius of 0."""
    n = int(outer_m // cell_m) + 1
    r = np.hypot(*(np.mgrid[-n : n + 1, -n : n + 1] * cell_m))
    kernel = ((r >= inner_m) & (r <= outer_m)).astype(float)
    return kernel / kernel.sum()


def plot(result: dict, looks: pd.DataFrame, controls: dict[tuple[str, str], pd.DataFrame]) -> Figure:
    """Plot the anomaly per acquisition next to the distribution of the controls, one row per data center."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(
        3, 2, figsize=(9.6, 8.4), width_ratios=(1.75, 1), sharey="row", sharex="col", layout="constrained"
    )
    for (left, right), site, colour in zip(axes, result["sites"], COLOURS, strict=True):
        name = site["site_id"]
        own = looks[(looks["site_id"] == name) & looks["used"]]
        _per_look(left, own, controls[name, "matched"], colour)
        left.set_title(f"{name}: median {site['lst_excess_k']:+.1f} K", loc="left", fontsize=10, fontweight="bold")
        _controls(right, site, controls, colour)
    axes[0, 0].legend(loc="upper left", fontsize=8, frameon=False)
    axes[1, 0].set_ylabel("surface temperature, site minus ring median [K]")
    axes[2, 0].tick_params(axis="x", rotation=60)
    axes[2, 0].set_xlabel("acquisition date")
    axes[2, 1].set_xlabel("median over acquisitions; each dot is a control")
    figure.suptitle("Münster, Landsat 8/9 day scenes about 10:30: three data centers among ordinary places")
    return figure


def _per_look(axis: Axes, own: pd.DataFrame, matched: pd.DataFrame, colour: str) -> None:
    at = np.arange(len(own))
    band = matched.groupby("time")["excess_k"].quantile([0.05, 0.95]).unstack().loc[own["time"]]
    axis.fill_between(at, band[0.05], band[0.95], step="mid", color="0.88", lw=0, label="matched controls, 5-95%")
    sd = (own["excess_k"] / own["robust_z"]).abs()
    axis.errorbar(
        at, own["excess_k"], yerr=sd, fmt="o", ms=4.5, color=colour, ecolor=colour, elinewidth=1, capsize=2,
        label="data center, bar: ±1 robust sd of its ring",
    )  # fmt: skip
    axis.axhline(0, color="0.4", lw=0.8)
    axis.set_xticks(at, own["time"])


def _controls(axis: Axes, site: dict, controls: dict[tuple[str, str], pd.DataFrame], colour: str) -> None:
    rng = np.random.default_rng(SEED)
    for at, (kind, words) in enumerate((("built_up", "built-up"), ("matched", "matched"))):
        excess = controls[site["site_id"], kind].groupby("site_id")["excess_k"].median()
        axis.plot(at + rng.uniform(-0.28, 0.28, len(excess)), excess, ".", ms=2.6, color="0.6", zorder=1)
        axis.hlines(excess.median(), at - 0.34, at + 0.34, color="0.25", lw=1.2, zorder=2)
        axis.plot(at, site["lst_excess_k"], "D", ms=7, color=colour, mec="white", zorder=3)
        note = f"warmer than {site[f'{kind}_percentile']:.0f}%\nof {len(excess)} {words}"
        axis.text(at, 1.0, note, ha="center", va="bottom", fontsize=8, transform=axis.get_xaxis_transform())
    axis.axhline(0, color="0.4", lw=0.8)
    axis.set_xlim(-0.55, 1.55)
    axis.set_xticks([0, 1], ["built-up", "matched"])


def put_tables(page: Path, result: dict, looks: pd.DataFrame, controls: dict) -> None:
    """Replace the text between the markers of the page by the tables of this run."""
    text = page.read_text(encoding="utf-8")
    tables = {
        "summary": _summary_table(result),
        "season": _season_table(looks, controls),
        "floor": _floor_line(result),
    }
    for name, table in tables.items():
        start, end = f"<!-- {name}: made by benchmarks/thermal_muenster.py -->", f"<!-- end of {name} -->"
        head, rest = text.split(start)
        text = f"{head}{start}\n{table}\n{end}{rest.split(end)[1]}"
    page.write_text(text, encoding="utf-8")


def _summary_table(result: dict) -> str:
    lines = [
        "| data center (point) | built-up: site / ring | excess | z | ring sd | acquisitions | "
        "warmer than … of built-up controls | … of matched controls (per acquisition) | floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {s['site_id']} | {s['own_built_share']:.0%} / {s['ring_built_share']:.0%} | "
        f"{s['lst_excess_k']:+.1f} K | {s['robust_z']:+.1f} | {s['ring_sd_k']:.1f} K | "
        f"{s['looks_used']} of {s['looks_total']} | "
        f"{s['built_up_percentile']:.0f}% of {s['built_up_controls']} | "
        f"{s['matched_percentile']:.0f}% of {s['matched_controls']} "
        f"({s['matched_percentile_look_min']:.0f}-{s['matched_percentile_look_max']:.0f}%) | "
        f"{s['floor_mw']:,.0f} MW |"
        for s in result["sites"]
    ]
    return "\n".join(lines)


def _season_table(looks: pd.DataFrame, controls: dict) -> str:
    lines = ["| median excess | 8-9 March | June | ratio |", "|---|---|---|---|"]
    for name in looks["site_id"].unique():
        for who, rows in (
            (name, looks[looks["site_id"] == name]),
            ("its matched controls", controls[name, "matched"]),
        ):
            month = rows["time"].str[5:7]
            march = rows.loc[rows["time"].str[5:].isin(["03-08", "03-09"]), "excess_k"].median()
            june = rows.loc[month == "06", "excess_k"].median()
            lines.append(f"| {who} | {march:+.1f} K | {june:+.1f} K | {june / march:.1f} |")
    return "\n".join(lines)


def _floor_line(result: dict) -> str:
    return (
        f"Median design floor of the three: **{result['floor_mw_design']:,} MW**. Floor from the scatter "
        f"of E among the built-up controls themselves: **{result['floor_mw_from_controls']:,} MW**. "
        f"Acquisitions of those ordinary places with z of 3 or more: **{result['built_up_looks_above_z3']:.1%}**."
    )


if __name__ == "__main__":
    main()

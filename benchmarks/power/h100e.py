"""(e) H100 equivalents of AI sites, and the AI share of ordinary sites, with the kind of site known and not known.

Truth: rows of Epoch AI's timelines with H100 equivalents above 0, dated before `LATEST`; their basis is 8 bit, so
our FP8 basis is compared. Given are IT power with the spread that Epoch AI states ('exact_mw': without), the year and
the country; in 'unknown' neither kind nor operator. The scores take the last row of each site, 'all_years' and
'by_year' the last row of each site in each year.

No constant is fitted to the H100 equivalents of single rows. But the mixes of chips, the power per chip of some chips
and the number and sizes of AI sites rest on these sites as a whole (models/reference), so 'ai' mostly tests the
arithmetic. 'not_in_tables' leaves out the sites whose H100 equivalents per MW set the power of a chip.

The other side: buildings of IM3 away from Epoch AI's sites are ordinary US data centers. Their expected AI power, from
footprint and year alone, must stay below the AI power of the country outside the listed sites. It is one-sided: which
of them are used for AI is not known.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import shapely

from benchmarks.power.chips import EPOCH_LN_SD
from overwatt.models.capacity.fit_operators import LATEST
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.compute.site_type import KINDS
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.posterior import PowerDraws, site_seed

DRAWS = 4096
JOIN_M, LISTED_M, SMALL_MW = 300.0, 1500.0, 30.0
"""Buildings closer than the first are one site; sites closer than the second to a listed AI site are left out; sites
with a smaller median IT power are small (own choices)."""
AT_MOST_GW = {"2024": (4.8, 10.4), "2026": (16.5, 22.5)}
"""IT power of AI in the United States outside the sites that Epoch AI lists, GW, from a low and a high statement: the
most that ordinary sites can hold. 2024: 6 GW (the listed 1.2 GW over their share of all H100 equivalents) to 11.6 GW
(76 TWh of AI servers, LBNL 2024: recalled, at a load of 0.75), less 1.2. 2026: 25 to 31 GW as the 6 GW, less 8.5
(models/reference/site_kinds.csv)."""
IN_TABLES = (
    "Colossus 1",
    "Colossus 2",
    "Anthropic-Amazon New Carlisle",
    "Huawei Horinger",
    "Google Arcola",
    "Google Lincoln",
)
"""Sites whose H100 equivalents per MW set a row of models/reference/chips.csv."""
_CODES = {
    "United States": "US", "China": "CN", "Malaysia": "MY", "Indonesia": "ID", "Norway": "NO", "United Kingdom": "GB",
    "United Arab Emirates": "AE", "Finland": "FI",
}  # fmt: skip


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return scores with the kind known ('ai') and not known ('unknown'), by year and chip, and of ordinary sites."""
    rows = _rows(folder)
    last = rows.groupby("Data center").tail(1)
    yearly = rows.groupby(["Data center", "year"]).tail(1)
    ai, unknown = (_predict(last, kind, seed) for kind in ("ai", "unknown"))
    named = _predict(last, "unknown", seed, operator=True)
    by_year = _predict(yearly, "unknown", seed)
    by_year_ai = _predict(yearly, "ai", seed)
    return {
        "ai": _scores(ai) | {
            "exact_mw": _scores(_predict(last, "ai", seed, ln_sd=0.0)),
            "not_in_tables": _scores(ai[~ai["site"].isin(IN_TABLES)]),
            "all_years": _scores(by_year_ai),
            "by_year": {str(y): _scores(g) for y, g in by_year_ai.groupby("year")},
            "by_chip": {str(c): _scores(g) for c, g in ai.groupby("family")},
        },
        "unknown": _scores(unknown) | {
            "exact_mw": _scores(_predict(last, "unknown", seed, ln_sd=0.0)),
            "with_operator": _scores(named),
            "all_years": _scores(by_year),
            "by_year": {str(y): _scores(g) for y, g in by_year.groupby("year")},
            "by_chip": {str(c): _scores(g) for c, g in unknown.groupby("family")},
        },
        "ordinary": _ordinary(folder, seed),
        "rows": unknown.round(4).to_dict("records"),
    }  # fmt: skip


def _rows(folder: Path) -> pd.DataFrame:
    """Rows of the timelines with H100 equivalents, in order of date, with year, country, owner and family of chips."""
    rows = pd.read_csv(folder / "epoch_data_center_timelines.csv")
    rows = rows[(rows["H100 equivalents"] > 0) & (rows["IT power (MW)"] > 0) & (rows["Date"] < LATEST)]
    about = pd.read_csv(folder / "epoch_data_centers.csv").set_index("Name")
    site = rows["Data center"]
    return rows.assign(
        year=rows["Date"].str[:4].astype(int),
        country=site.map(about["Country"]).map(_CODES),
        owner=site.map(about["Owner"]).str.split("#").str[0].str.strip(),
        family=site.map(about["Current chip types"]).map(_family),
    ).sort_values("Date")


def _family(chips: object) -> str:
    """Maker of the site's chips."""
    makers = {"TPU": "TPU", "Trainium": "Trainium", "Ascend": "Ascend"}
    return next(
        (name for key, name in makers.items() if key in str(chips)), "NVIDIA" if isinstance(chips, str) else "?"
    )


def _predict(
    rows: pd.DataFrame, kind: str, seed: int, *, ln_sd: float = EPOCH_LN_SD, operator: bool = False
) -> pd.DataFrame:
    """Return truth and our median, 10% and 90% quantile of H100 equivalents, one row per row of `rows`."""
    out = []
    for r in rows.to_dict("records"):
        own = site_seed(seed, f"{r['Data center']}/{r['Date']}")
        spread = np.exp(ln_sd * np.random.default_rng((own, 8)).standard_normal(DRAWS))
        it_mw = (r["IT power (MW)"] * spread).astype(np.float32)[None]
        site = SiteEvidence(
            r["Data center"],
            year=r["year"],
            country=r["country"] if isinstance(r["country"], str) else None,
            operator=r["owner"] if operator and isinstance(r["owner"], str) else None,
        )
        power = PowerDraws(it_mw, it_mw * np.float32(1.3), np.array([own]), ("",))
        got = training_compute.estimate(power, year=r["year"], site_type=kind, words=False, evidence=[site])
        low, middle, high = np.quantile(got.h100e_fp8[0], (0.1, 0.5, 0.9))
        out.append({
            "site": r["Data center"], "date": r["Date"], "year": r["year"], "family": r["family"],
            "it_mw": r["IT power (MW)"], "truth": r["H100 equivalents"], "p10": float(low), "p50": float(middle),
            "p90": float(high), "p_ai": float(got.types[0, 0]),
        })  # fmt: skip
    return pd.DataFrame(out)


def _ordinary(folder: Path, seed: int) -> dict[str, Any]:
    """Return the expected AI share of IT power of US sites that are in no list of AI sites."""
    features = json.loads((folder / "im3_footprints.geojson").read_text(encoding="utf-8"))["features"]
    shapes = shapely.from_geojson(
        [json.dumps(f["geometry"]) for f in features if f["properties"]["type"] == "building"]
    )
    # equal-area projection of the conterminous United States: areas and distances in metres
    to_m = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:5070", always_xy=True)
    shapes = shapely.transform(shapes, lambda xy: np.column_stack(to_m.transform(*xy.T)))
    sites = shapely.get_parts(shapely.union_all(shapely.buffer(shapes, JOIN_M / 2)))
    site, building = shapely.STRtree(shapely.point_on_surface(shapes)).query(sites, predicate="contains")
    area = np.bincount(site, shapely.area(shapes)[building], len(sites))
    known = pd.read_csv(folder / "epoch_site_coordinates.csv")
    listed = shapely.points(*to_m.transform(known["lon"].to_numpy(), known["lat"].to_numpy()))
    near = np.unique(shapely.STRtree(sites).query(listed, predicate="dwithin", distance=LISTED_M)[1])
    evidence = [
        SiteEvidence(f"im3-{k}", float(area[k]), country="US")
        for k in range(len(sites))
        if area[k] > 0 and k not in near
    ]
    out: dict[str, Any] = {"sites": len(evidence)}
    for year in (2024, 2026):
        power = posterior.estimate(evidence, year=year, seed=seed, draws=DRAWS, words=False)
        got = training_compute.estimate(power, year=year, words=False, evidence=evidence)
        # share of the load that is AI accelerators, relative to a site built for AI
        ai_mw = (power.it_mw * (got.flop / got.flop_ai)).mean(axis=1)
        it_mw = power.it_mw.mean(axis=1)
        small = np.median(power.it_mw, axis=1) < SMALL_MW
        out[str(year)] = {
            "it_gw": round(float(it_mw.sum() / 1e3), 2),
            "ai_gw": round(float(ai_mw.sum() / 1e3), 2),
            "at_most_gw": list(AT_MOST_GW[str(year)]),
            "ai_share": round(float(ai_mw.sum() / it_mw.sum()), 4),
            "sites_below_30_mw": int(small.sum()),
            "mean_p_ai_below_30_mw": round(float(got.types[small, KINDS.index("ai")].mean()), 4),
            "ai_share_below_30_mw": round(float(ai_mw[small].sum() / it_mw[small].sum()), 4),
            "called_ai": int((got.types.argmax(axis=1) == KINDS.index("ai")).sum()),
        }
    return out


def _scores(rows: pd.DataFrame) -> dict[str, Any]:
    """Coverage of the central 80%, mean and median error in ln (ours over truth), factor of the median error."""
    error = np.log(np.maximum(rows["p50"], 1e-9) / rows["truth"])
    inside = (rows["p10"] <= rows["truth"]) & (rows["truth"] <= rows["p90"])
    return {
        "n": len(rows),
        "coverage_80": round(float(inside.mean()), 4),
        "bias": round(float(error.mean()), 4),
        "median_ln_error": round(float(error.median()), 4),
        "median_factor": round(math.exp(float(error.abs().median())), 4),
    }

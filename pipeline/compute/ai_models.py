"""Compare FLOP thresholds with real AI models: how many reach each, with the uncertainty of their compute.

In: a table of AI models (Epoch AI, notable models, CC-BY 4.0; not part of the project). Out: plain
values for `overwatt thresholds`: counts by year, country and organisation, and what each threshold
covers and misses, and how far models without a figure could move these. Rows are untrusted: a bad cell is an
error that names its row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.compute import missing_compute
from overwatt.pipeline.compute.thresholds import THRESHOLDS_FLOP

CONFIDENCE_FACTOR = {"confident": 3.0, "likely": 10.0, "speculative": 30.0}
"""Half-width of the 90% interval of published compute, as a factor (0.5, 1 and 1.5 decades): Epoch
AI's documentation of its column Confidence, recalled (docs/methods.md, section 5.3). It describes the least
certain of compute, parameters and data of a model, so for compute it is rather too wide."""
MAX_FLOP = 1e32
"""Larger values are refused as typing errors; own choice: 1e5 times the largest threshold."""
MAX_ROWS = 2_000_000
"""Own choice: bounds memory and time; Epoch's table has a few thousand rows."""
SEED = 20_250
GROUPS = 12
"""Countries and organisations listed by name; the others form one group."""
_COLUMNS = {
    "model": "Model",
    "organisation": "Organization",
    "date": "Publication date",
    "country": "Country (of organization)",
    "flop": "Training compute (FLOP)",
    "confidence": "Confidence",
}
_Z95 = float(ndtri(0.95))  # from the half-width of a 90% interval to a standard deviation


def normalize_models(raw: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the models of a table in Epoch AI's layout, one row each.

    Columns: model, organisation, country (str, parts joined by commas), year (int64, 0 unknown), flop
    (float64, NaN if not stated), ln_sd (float64, of flop), stated (bool, whether the confidence is a known word),
    flop_by_hardware (float64, from hardware, quantity and hours, NaN if one of them is not stated).

    Args:
        raw: all cells as text, the header as the first row.
        where: names the table in errors.

    Raises:
        ConfigError: it is not such a table, or a cell is bad; the error names its row (header: row 1).
    """
    header = [str(name).strip() for name in raw.iloc[0]]
    for name in _COLUMNS.values():
        if header.count(name) != 1:
            found = "missing" if name not in header else "present more than once"
            raise ConfigError(f"{where}: column '{name}' is {found}; give Epoch AI's table of notable models")
    raw = raw.iloc[1:].fillna("").set_axis(header, axis=1)
    if len(raw) > MAX_ROWS:
        raise ConfigError(f"{where}: more than {MAX_ROWS:,} rows; give a shorter table")
    hardware = {name: raw[name] for name in missing_compute.COLUMNS if header.count(name) == 1}
    raw = raw[list(_COLUMNS.values())]
    raw = raw[(raw != "").any(axis=1)]  # blank lines; the index keeps the row of the file
    cells = {name: raw[column].str.strip() for name, column in _COLUMNS.items()}
    flop = pd.to_numeric(cells["flop"], errors="coerce").astype(float)
    wrong = (cells["flop"] != "") & ~((flop > 0) & (flop <= MAX_FLOP))
    _refuse(where, "flop", cells["flop"], wrong, f"give FLOP, above 0 and at most {MAX_FLOP:g}, or leave it empty")
    dated = cells["date"].str.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}")
    year = pd.to_numeric(cells["date"].str.slice(0, 4).where(dated, "0")).astype("int64")
    wrong = (cells["date"] != "") & ~(dated & year.between(1900, 2100))
    _refuse(where, "date", cells["date"], wrong, "give YYYY-MM-DD, 1900 to 2100, or leave it empty")
    factor = cells["confidence"].str.casefold().map(CONFIDENCE_FACTOR)
    widest = max(CONFIDENCE_FACTOR.values())
    return pd.DataFrame(
        {
            "model": cells["model"],
            "organisation": cells["organisation"],
            "country": cells["country"],
            "year": year,
            "flop": flop,
            "ln_sd": np.log(factor.fillna(widest).astype(float)) / _Z95,
            "stated": factor.notna(),
            "flop_by_hardware": missing_compute.flop_by_hardware(pd.DataFrame(hardware, index=raw.index)),
        }
    ).reset_index(drop=True)


def against_models(models: pd.DataFrame, *, seed: int = SEED) -> dict[str, Any]:
    """Return how many models reach each threshold: by published compute, and the 5-95% interval over draws.

    A model triggers threshold F if its compute is F or more. Errors of compute are log-normal and independent.
    A model of several countries or organisations counts once in each. Draws: 2,000, fewer (at least 100)
    for large tables; memory grows with rows, not with draws.

    Args:
        models: as `normalize_models` returns it.
        seed: of the errors.
    """
    known, unknown = models[models["flop"].notna()], models[models["flop"].isna()]
    models = pd.concat([known, unknown], ignore_index=True)
    n, steps = len(known), len(THRESHOLDS_FLOP)
    flop, ln_sd = known["flop"].to_numpy(float), known["ln_sd"].to_numpy(float)
    edges = np.log(np.array(THRESHOLDS_FLOP))
    # level of a model: number of thresholds that it reaches; a model without a figure reaches none
    level = _level(np.log(flop), edges, len(models))
    groupings = {
        "by_year": _pairs(models["year"].map(lambda y: str(y) if y else "undated"), split=False),
        "by_country": _pairs(models["country"]),
        "by_organisation": _pairs(models["organisation"]),
    }
    kept = {key: _largest(*pairs, level, everything=key == "by_year") for key, pairs in groupings.items()}
    kept["all"] = (np.arange(len(models)), np.zeros(len(models), dtype=np.int64), ["all"])
    # own choice: about 1e8 random numbers at most, some seconds
    draws = int(np.clip(100_000_000 // max(len(models), 1), 100, 2000))
    counts = {key: np.empty((draws, len(names), steps), np.int32) for key, (_, _, names) in kept.items()}
    shares = np.zeros((draws, steps))
    rng = np.random.default_rng(seed)
    for draw in range(draws):
        ln = np.log(flop) + ln_sd * rng.standard_normal(n)
        drawn = _level(ln, edges, len(models))
        for key, pairs in kept.items():
            counts[key][draw] = _counts(*pairs, drawn)
        shares[draw] = _flop_share(np.exp(ln), drawn[:n])
    out: dict[str, Any] = {
        "with_compute": n,
        "without_compute": len(unknown),
        **(missing := missing_compute.totals(n, len(unknown))),
        "confidence_not_stated": int((~known["stated"]).sum()),
        "draws": draws,
        "seed": seed,
    }
    whole = _summary(kept["all"], counts["all"], level, n)[0]["counts"]
    published = _flop_share(flop, level[:n])
    middle = missing_compute.expected(known, unknown, missing["without_compute_assumed"], THRESHOLDS_FLOP)
    # undecided: the 90% interval of the model's compute includes the threshold
    straddle = np.abs(np.log(flop)[:, None] - edges[None, :]) < (_Z95 * ln_sd)[:, None]
    low, high = np.quantile(shares, (0.05, 0.95), axis=0)
    out["thresholds"] = [
        {
            **whole[i],
            "missed": n - whole[i]["published"],
            "at_least": whole[i]["published"],
            "at_most": whole[i]["published"] + len(unknown) + missing["without_compute_assumed"],
            "middle": float(whole[i]["published"] + middle[i]),
            "undecided": int(straddle[:, i].sum()),
            "share_of_models": whole[i]["published"] / max(n, 1),
            "flop_share": {"published": float(published[i]), "p05": float(low[i]), "p95": float(high[i])},
            "added_models": whole[i]["published"] - whole[i + 1]["published"] if i + 1 < steps else None,
            "added_flop_share": float(published[i] - published[i + 1]) if i + 1 < steps else None,
        }
        for i in range(steps)
    ]
    for key in groupings:
        out[key] = _summary(kept[key], counts[key], level, n)
    out["notes"] = [
        "published figures can lie outside their intervals: errors carry more models across a threshold from the "
        "side where more stand, and the largest model's error moves the FLOP shares",
        "compute known to 90% within x3 (confident), x10 (likely), x30 (speculative or not stated); independent errors",
        "undecided: the 90% interval of the model's compute holds the threshold",
        "the table lists notable public models and lags: its newest year is incomplete, undisclosed models are missing",
        "models of several countries or organisations count in each, so those rows add up to more than the total",
    ]
    return out


def _refuse(where: str, name: str, cells: pd.Series, wrong: pd.Series, advice: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise ConfigError(
            f"{where}: row {int(cells.index[row]) + 1}, {_COLUMNS[name]}: '{str(cells.iloc[row])[:60]}'; {advice}"
        )


def _pairs(names: pd.Series, *, split: bool = True) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return (row, group) index pairs, each pair once, and the names of the groups."""
    codes, texts = pd.factorize(names)
    number: dict[str, int] = {}
    groups = []
    for text in texts:
        parts = {part.strip()[:60] for part in text.split(",")} if split else {text}
        groups.append([number.setdefault(p or "not stated", len(number)) for p in sorted(parts)])
    sizes = np.array([len(g) for g in groups], dtype=np.int64)
    flat = np.array([g for group in groups for g in group], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    rows = np.repeat(np.arange(len(codes)), sizes[codes])
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes[codes]) - sizes[codes], sizes[codes])
    return rows, flat[np.repeat(starts[codes], sizes[codes]) + within], list(number)


def _largest(
    rows: np.ndarray, group: np.ndarray, names: list[str], level: np.ndarray, *, everything: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Keep the groups with most threshold crossings and join the others; with `everything` keep all, by name."""
    if everything:
        order = sorted(range(len(names)), key=lambda g: names[g])
    else:
        crossings = np.bincount(group, weights=level[rows], minlength=len(names))
        order = sorted(range(len(names)), key=lambda g: (-crossings[g], names[g]))
    kept = order if everything or len(order) <= GROUPS else order[:GROUPS]
    place = np.full(len(names), len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    labels = [names[g] for g in kept]
    if len(kept) == len(names):
        return rows, place[group], labels
    pairs = np.unique(
        np.stack([rows, place[group]]), axis=1
    )  # a model of two small groups counts once among the others
    return pairs[0], pairs[1], [*labels, f"{len(names) - len(kept)} others"]


def _level(ln_flop: np.ndarray, edges: np.ndarray, rows: int) -> np.ndarray:
    """Number of thresholds that each model reaches, (rows,) int64; 0 past the models with a figure."""
    out = np.zeros(rows, dtype=np.int64)
    out[: len(ln_flop)] = np.searchsorted(edges, ln_flop, side="right")
    return out


def _counts(rows: np.ndarray, group: np.ndarray, names: list[str], level: np.ndarray) -> np.ndarray:
    """Number of models at or above each threshold, (group, threshold) int64."""
    width = len(THRESHOLDS_FLOP) + 1
    table = np.bincount(group * width + level[rows], minlength=len(names) * width).reshape(len(names), width)
    # counts per level, summed from the top: models that reach at least this threshold
    return table[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def _flop_share(flop: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Share of all FLOP that is in models at or above each threshold, (threshold,); 0 without models."""
    sums = np.bincount(level, weights=flop, minlength=len(THRESHOLDS_FLOP) + 1)[::-1].cumsum()[::-1]
    return np.asarray(sums[1:] / sums[0] if sums[0] > 0 else np.zeros(len(THRESHOLDS_FLOP)))


def _summary(
    pairs: tuple[np.ndarray, np.ndarray, list[str]], drawn: np.ndarray, level: np.ndarray, known: int
) -> list[dict[str, Any]]:
    """Counts of each group; the first `known` models have a figure."""
    rows, group, names = pairs
    published = _counts(rows, group, names, level)
    sizes = np.bincount(group[rows < known], minlength=len(names))
    without = np.bincount(group[rows >= known], minlength=len(names))
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0, method="inverted_cdf")  # whole counts, not between two
    return [
        {
            "name": name,
            "models": int(sizes[g]),
            "without_compute": int(without[g]),
            "counts": [
                {"flop": f, "published": int(published[g, i]), "p05": int(low[g, i]), "p95": int(high[g, i])}
                for i, f in enumerate(THRESHOLDS_FLOP)
            ],
        }
        for g, name in enumerate(names)
    ]

"""The inspection list as one flat table: the ledger joined with the tables next to it.

In: a run folder or a ledger.parquet, with or without sites, declared, looked_at, footprints, thermal, an
inspection plan and dispositions next to it. Out: `Inputs`; the list, one row per entry, in order of rank, then one per
almost-listed site that is drawn or judged, then one per drawn cell.
Texts are not trusted: control characters and surrounding white space are removed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.tables import LEDGER_CLASSES
from overwatt.workflows.export.cells import almost_listed, drawn_cells, lost_visits
from overwatt.workflows.export.fields import ALMOST_LISTED, FIELDS, SOURCES, SURE, Field
from overwatt.workflows.io import registries
from overwatt.workflows.io.dispositions import latest, own_files, place_of, read_own
from overwatt.workflows.io.run_folder import read_table, undefused

DIGITS = 6
"""Significant digits of numbers in the list; the ledger itself holds all digits."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")  # with characters that XML forbids
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")  # bidirectional overrides: make text look different from what it is
# classes that may have the wording 'inconsistency'
_STRONG = ("undeclared", "above_declared", "type_mismatch")


@dataclass
class Inputs:
    """Inputs of a list.

    Attributes:
        ledger: table `ledger`, in order of rank.
        tables: those of `SOURCES` that were found.
        files: by name of the table: path and SHA-256.
        manifest: of the run, or empty.
        warnings: faults of the inputs that the list works around.
    """

    ledger: gpd.GeoDataFrame
    tables: dict[str, pd.DataFrame]
    files: dict[str, tuple[str, str]]
    manifest: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def read(path: Path, observed: Path | None = None, declared: Path | None = None) -> Inputs:
    """Read a run folder, or a ledger.parquet and the tables next to it.

    Args:
        path: folder or ledger.
        observed: table of sites in any form that `overwatt reconcile` reads [default: the one next to the ledger].
        declared: registry in any form that `overwatt reconcile` reads [default: the one next to the ledger].

    Raises:
        ConfigError: there is no ledger, or a file next to it is not the table of its name.
        RegistryError: dispositions, `observed` or `declared` cannot be used.
    """
    file = path / "ledger.parquet" if path.is_dir() else path
    ledger = _table(file, "ledger")
    if ledger is None:
        raise ConfigError(f"{file}: no such file; write it with `overwatt run` or `overwatt reconcile`")
    ledger = ledger.sort_values(["rank", "entry_id"], kind="stable").reset_index(drop=True)
    files = {"ledger": (file.name, sha256_of(file))}
    found: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    for name in ("almost_listed", "sites", "declared", "looked_at", "footprints", "thermal"):
        source = file.with_name(SOURCES[name])
        given = {"sites": observed, "declared": declared}.get(name)
        if given is not None:
            table = _given_table(given, name)
            source = given
        else:
            table = _table(source, name)
        if table is not None:
            found[name], files[name] = table, (source.name, sha256_of(source))
    plan = file.with_name("inspection") / "plan.csv"
    if plan.is_file():
        found["plan"], files["plan"] = _plan(plan), ("inspection/plan.csv", sha256_of(plan))
    if (judged := read_own(file.parent)) is not None:
        found["dispositions"] = latest(judged)
        # the first under the name of the table, as the others
        names = ["dispositions", "dispositions 2", "dispositions 3", "dispositions 4"]
        files |= {k: (own.name, sha256_of(own)) for k, own in zip(names, own_files(file.parent), strict=False)}
    if len(duplicates := ledger["entry_id"][ledger["entry_id"].duplicated()]):
        notes.append(
            f"{len(duplicates)} entries share their entry_id with another one, such as {clean(duplicates.iloc[0])[:60]}"
        )
    for name, key in (("sites", "site_id"), ("declared", "declared_id")):
        if name in found:
            absent = int((ledger[key].notna() & ~ledger[key].isin(found[name][key])).sum())
            if absent:
                notes.append(
                    f"{absent} entries name a {key} that {files[name][0]} does not have; is it of another run?"
                )
    if "plan" in found and (absent := int((~ledger["entry_id"].isin(found["plan"]["place"])).sum())):
        notes.append(
            f"{absent} entries are not in inspection/plan.csv, which is of another ledger; run `overwatt inspect` again"
        )
    known = ledger["entry_id"]
    if "almost_listed" in found:
        known = pd.concat([known, found["almost_listed"]["entry_id"]])
    if "plan" in found and (lost := lost_visits(known, found["plan"])):
        notes.append(
            f"{len(lost)} drawn visits, such as {clean(lost[0])[:60]}, are not in this run any more; "
            "run `overwatt inspect` again"
        )
    return Inputs(ledger, found, files, _manifest(file.with_name("manifest.json"), notes), notes)


def clean(value: object) -> str:
    """Return text without control characters, bidirectional overrides and surrounding white space."""
    return _BIDI.sub("", _CONTROL.sub(" ", str(value))).strip()


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        RegistryError: it cannot be read.
    """
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise RegistryError(f"{file}: cannot be read ({error.strerror})") from error


def fields(inputs: Inputs) -> list[Field]:
    """Return the columns of the list: those whose source is present."""
    return [f for f in FIELDS if f.source in ("ledger", "made", "inspector") or f.source in inputs.tables]


def listing(inputs: Inputs, top: int | None = None) -> gpd.GeoDataFrame:
    """Return the list: columns `fields(inputs)` and geometry (WGS84).

    One row per entry in order of rank, then one row per almost-listed site that the plan visits or that has a finding,
    then one row per cell that the plan visits, each in order of id.

    Args:
        inputs: tables.
        top: number of entries, those with the highest rank [default: all]; drawn visits are listed besides.

    Raises:
        ConfigError: `top` is below 1.
    """
    if top is not None and top < 1:
        raise ConfigError(f"--top {top}: give a number of entries of at least 1")
    ledger = _rows(inputs, top)
    shapes: np.ndarray = np.array(ledger.geometry.to_numpy(), dtype=object)
    bounds = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    usable = np.isfinite(bounds).all(axis=1)
    if (~usable).any():
        inputs.warnings.append(f"{int((~usable).sum())} entries have no usable position")
    shapes[~usable] = None
    shapes = np.asarray(shapely.force_2d(shapes), dtype=object)
    points = shapely.point_on_surface(shapes)
    joined = {
        name: _indexed(inputs.tables[name], key).reindex(pd.Index(ledger[of].astype(object)))
        for name, key, of in (
            ("sites", "site_id", "site_id"), ("declared", "declared_id", "declared_id"),
            ("thermal", "site_id", "site_id"), ("plan", "place", "entry_id"),
            ("almost_listed", "entry_id", "entry_id"),
        ) if name in inputs.tables
    }  # fmt: skip
    if "dispositions" in inputs.tables:
        judged = inputs.tables["dispositions"]
        joined["dispositions"] = _indexed(judged.assign(place=place_of(judged)), "place").reindex(place_of(ledger))
    if "footprints" in inputs.tables and "sites" in inputs.tables:
        scenes = _scenes(inputs.tables["sites"], inputs.tables["footprints"])
        joined["footprints"] = pd.DataFrame({"scenes": ledger["site_id"].map(scenes)})
    made = _alternatives(ledger["alternatives"], inputs.warnings)
    made |= {
        "wording": _wording(ledger), "name": _names(ledger, joined.get("declared")),
        "lon": np.round(shapely.get_x(points), 7), "lat": np.round(shapely.get_y(points), 7),
        "position_sigma_m": _sigma(ledger, joined.get("declared")),
    }  # fmt: skip
    out: dict[str, pd.Series] = {}
    for f in fields(inputs):
        if f.source == "made":
            values = pd.Series(made[f.name])
        elif f.source == "inspector":
            values = pd.Series(pd.NA, ledger.index, dtype="Int64" if f.name == "chips" else "Float64")
        else:
            source = ledger if f.source == "ledger" else joined.get(f.source)
            if source is None:  # footprints without sites
                continue
            values = pd.Series(source[f.column].array)
        out[f.name] = _formatted(values, f)
    return gpd.GeoDataFrame(pd.DataFrame(out), geometry=gpd.GeoSeries(shapes, crs=WGS84), crs=WGS84)


def _rows(inputs: Inputs, top: int | None) -> gpd.GeoDataFrame:
    """Return the entries to list, and the rows besides them."""
    ledger = inputs.ledger.astype({"rank": "Int64"})
    plan, looked_at = inputs.tables.get("plan"), inputs.tables.get("looked_at")
    if top is not None:
        wanted = np.arange(len(ledger)) < top
        if plan is not None:
            wanted |= ledger["entry_id"].isin(plan["place"][plan["visit"]]).to_numpy()
        ledger = ledger[wanted]
    more = []
    if "almost_listed" in inputs.tables:
        almost = gpd.GeoDataFrame(inputs.tables["almost_listed"]).astype({"rank": "Int64"})
        almost = almost[~almost["entry_id"].isin(inputs.ledger["entry_id"])]
        more.append(almost_listed(almost, plan, inputs.tables.get("dispositions")))
    if plan is not None:
        more.append(drawn_cells(plan, None if looked_at is None else gpd.GeoDataFrame(looked_at)))
    # no column that is wholly empty decides a type
    types = ledger.dtypes.to_dict()
    parts = [ledger, *(rows.reindex(columns=ledger.columns).astype(types) for rows in more if len(rows))]
    return gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=WGS84)


def _formatted(values: pd.Series, f: Field) -> pd.Series:
    """Return a column as cleaned text, nullable integer or boolean, or float of `DIGITS` significant digits."""
    if f.name == "seed":  # 64 bits, which a spreadsheet would round
        return values.astype("Int64").astype("string")
    if f.text:
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            values = values.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        return values.map(clean, na_action="ignore").astype("string")
    if f.name in ("on_border", "used_thermal", "drawn"):
        return values.astype("boolean")
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.astype("Int64")
    numbers = values.astype("Float64").to_numpy(float, na_value=np.nan)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    if f.name in ("lon", "lat"):
        return pd.Series(numbers)
    return pd.Series([float(f"{v:.{DIGITS - 1}e}") for v in numbers.tolist()], dtype="float64")


def _wording(ledger: pd.DataFrame) -> np.ndarray:
    """Return the level of wording of each entry, (entry,); see `fields.WORDING`."""
    klass = ledger["class"].to_numpy(object)
    match = ledger["p_match"].astype(float).fillna(0.0).to_numpy()
    sure = ledger["p_data_center"].astype(float).fillna(0.0).to_numpy()
    # probability of what the entry says: a data center, and unmatched (undeclared) or matched (all others)
    sure = sure * np.where(klass == "undeclared", 1.0 - match, match)
    strong = np.isin(klass.astype(str), _STRONG) & (sure >= SURE)
    silent = (klass == "matched") | ~np.isin(klass.astype(str), LEDGER_CLASSES)  # nothing is asked of a cell
    said = np.where(silent, "none", np.where(strong, "inconsistency", "question"))
    return np.where(ledger["rank"].isna() & ~silent, ALMOST_LISTED, said)  # neither an entry nor a cell


def _names(ledger: pd.DataFrame, declared: pd.DataFrame | None) -> np.ndarray:
    """Return what each place is called, (entry,)."""
    names = (
        pd.Series(pd.NA, ledger.index, dtype="object") if declared is None else declared["name"].reset_index(drop=True)
    )
    for column in ("declared_id", "site_id", "entry_id"):
        names = names.astype(object).where(names.notna(), ledger[column].reset_index(drop=True))
    return names.to_numpy(object)


def _sigma(ledger: pd.DataFrame, declared: pd.DataFrame | None) -> np.ndarray:
    """Return the 1-sigma position error of each entry, metres, (entry,); NaN if only a declaration could state it."""
    own = ReconcileSettings().registration_m  # of the imagery (docs/methods.md, section 6.1)
    error = np.full(len(ledger), np.nan) if declared is None else declared["position_error_m"].astype(float).to_numpy()
    return np.where(ledger["site_id"].notna(), own, error)


def _alternatives(texts: pd.Series, warnings: list[str]) -> dict[str, Any]:
    keys = ("id", "side", "p", "distance_m", "why")
    columns: dict[str, list[Any]] = {f"alt{k}_{key}": [None] * len(texts) for k in (1, 2, 3) for key in keys}
    broken = 0
    for n, text in enumerate(texts.to_numpy(object)):
        if not isinstance(text, str) or not text:
            continue
        try:
            rows = json.loads(text)
            for k, row in enumerate(rows[:3], 1):
                for key in keys:
                    value = row.get(key)
                    if value is not None:
                        columns[f"alt{k}_{key}"][n] = float(value) if key in ("p", "distance_m") else clean(value)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            broken += 1
    if broken:
        warnings.append(f"{broken} entries have alternatives that are no JSON list; their columns alt* are empty")
    return columns


def _scenes(sites: pd.DataFrame, footprints: pd.DataFrame) -> dict[str, str]:
    """Return the images that show the objects of each site, by site_id."""
    site, which = shapely.STRtree(footprints.geometry.to_numpy()).query(
        sites.geometry.to_numpy(), predicate="intersects"
    )
    pairs = pd.DataFrame({
        "site": sites["site_id"].to_numpy(object)[site], "scene": footprints["scenes"].to_numpy(object)[which]
    }).dropna().drop_duplicates().sort_values(["site", "scene"])  # fmt: skip
    return {str(k): str(v) for k, v in pairs.groupby("site")["scene"].agg(" | ".join).items()}


def _indexed(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return a table without geometry, indexed by a key; of duplicate keys the first row."""
    frame = pd.DataFrame(table).drop(columns="geometry", errors="ignore")
    frame = frame[frame[key].notna()].drop_duplicates(key)
    whole = [c for c in frame.columns if frame[c].dtype == "int64"]
    frame = frame.astype(
        dict.fromkeys(whole, "Int64")
    )  # nullable, because rows without a partner would turn them into floats
    return frame.set_index(frame[key].astype(object))


def _given_table(file: Path, name: str) -> gpd.GeoDataFrame:
    return registries.read_observed(file)[0] if name == "sites" else registries.read(file, aside=[])


def _table(file: Path, name: str) -> gpd.GeoDataFrame | None:
    return read_table(file, name) if file.is_file() else None


def _plan(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file, dtype={"place": "string", "stratum": "string"})
        frame["place"] = frame["place"].map(undefused, na_action="ignore")
        frame["probability"] = frame["probability"].astype(float)
        frame["visit"] = frame["visit"].astype(str).str.lower() == "true"
        return frame[["place", "stratum", "probability", "visit"]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(
            f"{file}: not a plan of `overwatt inspect`; remove it or run `overwatt inspect` again"
        ) from error


def _manifest(file: Path, notes: list[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    except (ValueError, OSError, RecursionError):
        pass
    notes.append("manifest.json cannot be read; the list says nothing of code and imagery")
    return {}

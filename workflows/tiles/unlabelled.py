"""What a finished run leaves open: objects that nobody has labelled or judged yet.

In: a run folder, and ground that is known already. Out: a table of objects with calibrated probability, novelty and
size, in which a declared facility that was not seen counts as an object.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ModelContractError
from overwatt.aoi.geodesy import WGS84
from overwatt.models.detector.card import Calibration, ModelCard, verified
from overwatt.models.detector.sensors import weights_of
from overwatt.models.training.active_learning import LARGE_ROOF_M2
from overwatt.pipeline.sites.clustering import p_data_center
from overwatt.workflows.io.dispositions import latest, read_dispositions, read_own
from overwatt.workflows.tiles.finished_run import cells_of, manifest_of, run_table
from overwatt.workflows.tiles.from_dispositions import verdicts_of

COLUMNS = ("object_id", "kind", "class", "p", "novelty", "area_m2", "geometry")
DECLARED = "declared"
"""Class of an object that a registry declares and the run did not see."""


def objects_of(run: Path, within_m: float) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Return the objects of a run as `COLUMNS`, in canonical order, and notes.

    `p` is the probability that the class asked about is right: data center for buildings, equipment for machines.
    Objects of one `kind` can be alike. A declared facility that was not seen has p 0.5 and a kind of its own.

    Args:
        run: run folder.
        within_m: declared places with a larger position error are left out.

    Raises:
        RegistryError: the run lacks a table or a column.
    """
    found = run_table(run, "footprints", ("object_id", "class", "score", "epistemic", "area_m2"))
    found = found.sort_values("object_id", ignore_index=True)
    card, notes = _card(run)
    machine = (found["class"] == "cooling_equipment").to_numpy()
    score = found["score"].to_numpy(float)
    own = np.where(found["class"] == "other_building", 1 - score, score)
    hot = found["used_thermal"].to_numpy(bool) if "used_thermal" in found else np.zeros(len(found), bool)
    p = own.copy()
    if card is not None:
        for rows, calibration in (
            (~machine & ~hot, card.calibration), (~machine & hot, card.calibration_thermal or card.calibration),
        ):  # fmt: skip
            p[rows] = _calibrated(own[rows], calibration)
    objects = gpd.GeoDataFrame(
        {
            "object_id": found["object_id"].astype(str), "kind": np.where(machine, "equipment", "building"),
            "class": found["class"].astype(str), "p": p, "novelty": found["epistemic"].to_numpy(float),
            "area_m2": found["area_m2"].to_numpy(float),
        },
        geometry=found.geometry.to_numpy(), crs=WGS84,
    )  # fmt: skip
    parts = [part for part in (objects, _not_seen(run, within_m)) if len(part)]  # an empty part has no types
    return gpd.GeoDataFrame(pd.concat(parts or [objects], ignore_index=True), crs=WGS84), notes


def in_words(row: pd.Series) -> str:
    """Return what an object of `objects_of` is to the run."""
    if row["class"] == DECLARED:
        return f"declared as '{str(row['object_id'])[:40]}', but nothing was matched to it: a miss, or not built"
    what, asked = ("machines", "machines") if row["kind"] == "equipment" else ("building", "data center")
    novelty = f"novelty {row['novelty']:.1f} (training areas: 1)" if row["novelty"] else "novelty unknown"
    return f"{what} of {row['area_m2']:,.0f} m2, P({asked}) {row['p']:.2f}, {novelty}"


def judged_ground(run: Path, dispositions: Path | None) -> list[shapely.Geometry]:
    """Return the ground on which inspectors found something, or found nothing; what they could not tell is not in it.

    Raises:
        OverwattError: a table of findings is unusable.
    """
    given = read_dispositions(dispositions) if dispositions is not None else read_own(run)
    if given is None:
        return []
    sites = run_table(run, "sites", ("site_id", "p_data_center"))
    found = verdicts_of(latest(given), sites, run_table(run, "footprints", ("class",)), cells_of(run), "findings")
    return list(found.examples.geometry)


def _calibrated(score: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Probability at the share of data centers of the calibration: at an area's low prior all would look certain."""
    return p_data_center(score, calibration, calibration.prevalence)


def _card(run: Path) -> tuple[ModelCard | None, list[str]]:
    """Return the card of the weights of a run, or None and a note if they are not at hand."""
    manifest = manifest_of(run)
    try:
        detector, sha = manifest["parameters"]["detector"], manifest["inputs"]["weights"]
        weights = Path(detector["weights"]) if detector["weights"] else None
        card = verified(weights_of(detector["profile"], weights)[0])
    except (KeyError, TypeError, ModelContractError):
        card, sha = None, ""
    if card is None or card.weights_sha256 != sha:
        return None, ["the weights of the run are not at hand: its scores are taken as probabilities"]
    return card, []


def _not_seen(run: Path, within_m: float) -> gpd.GeoDataFrame:
    """Return the declared facilities that the run did not see although it looked there."""
    empty = gpd.GeoDataFrame(columns=list(COLUMNS), geometry="geometry", crs=WGS84)
    if not (run / "ledger.parquet").is_file() or not (run / "declared.parquet").is_file():
        return empty
    ledger = run_table(run, "ledger", ("class", "declared_id"))
    declared = run_table(run, "declared", ("declared_id", "position_error_m"))
    unseen = set(ledger["declared_id"][ledger["class"] == "not_seen"].dropna())
    rows = declared[declared["declared_id"].isin(unseen) & (declared["position_error_m"] <= within_m)]
    rows = rows[rows.geometry.notna() & ~rows.geometry.is_empty].sort_values("declared_id")
    if rows.empty:
        return empty
    return gpd.GeoDataFrame(
        {
            "object_id": rows["declared_id"].astype(str), "kind": "declared " + rows["declared_id"].astype(str),
            # detector and registry contradict each other: as uncertain as can be, of full weight
            "class": DECLARED, "p": 0.5, "novelty": 0.0, "area_m2": LARGE_ROOF_M2,
        },
        geometry=rows.geometry.to_numpy(), crs=WGS84,
    )  # fmt: skip

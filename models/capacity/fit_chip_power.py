"""Fit the law of chip power, and write the table of chips with their speeds and watts.

In: Epoch AI's tables of GPU clusters and machine-learning hardware (epoch.ai/data, CC-BY 4.0), and our own rows of
models/reference/chips.csv. Out, by `python -m overwatt.models.capacity.fit_chip_power --data DIR`: that table again,
with Epoch's rows renewed and `w_it` of chips without a better source by the law; and models/reference/chip_power.csv
(coefficients with covariance of the law in `chip_power`).

Rows of the fit: chips whose IT power is known from a filing, a maker or the sites that have them, and clusters whose
power is independent of their number of chips (`cluster_power`). The fit is Huber's M-estimate with a weak ridge,
because some coefficients rest on few rows.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overwatt.models.capacity.chip_power import FEATURES, PowerLaw, features, is_dense
from overwatt.models.capacity.cluster_power import INDEPENDENT, read_clusters
from overwatt.models.capacity.hardware_table import read_chips
from overwatt.models.reference.facts import Accelerator

_COMMENT = (
    "# Dense speeds without sparsity in TFLOP/s; 16 bit: BF16 or FP16; 8 bit: FP8, or INT8 where faster (A100, TPU v5, "
    "v6). Rows of Epoch AI and w_it by the law are renewed by models/capacity/fit_chip_power.py, all others are ours\n"
)


def anchors(chips: Mapping[str, Accelerator]) -> list[Accelerator]:
    """Return the chips whose IT power has a source of its own, one per product."""
    known = [c for c in chips.values() if c.w_it_basis in ("measured", "derived")]
    # variants of one product share their source; the one with aliases stands for all
    return [c for c in known if c.aliases]


def fit(rows: pd.DataFrame, known: Collection[Accelerator]) -> PowerLaw:
    """Fit the law to independent clusters, as of `read_clusters`, and chips of known IT power.

    A cluster of chips of known IT power informs only on what is stated or run over that power.
    """
    x, y = [], []
    for r in rows[rows["basis"].isin(INDEPENDENT)].to_dict("records"):
        one, over = row_features(r)
        x.append(one)
        y.append(np.log(r["mw"] * 1e6 / r["tdp_w"]) - over)
    for chip in known:
        x.append(features(chip.tdp_w, dense=float(is_dense(chip.chip))))
        y.append(np.log(chip.w_it / chip.tdp_w))
    return _huber(np.array(x), np.array(y), len(x) - len(known))


def row_features(row: Mapping[Any, Any]) -> tuple[np.ndarray, float]:
    """Return the features of a cluster, and ln of its known IT power over its TDP, 0 if it is not known."""
    run = row["basis"] == "metered"
    x = features(float(row["mean_tdp_w"]), dense=float(row["dense"]), stated=not run, run=run)
    if not np.isfinite(float(row["w_it"])):
        return x, 0.0
    x[: FEATURES.index("stated")] = 0.0
    return x, float(np.log(float(row["w_it"]) / float(row["tdp_w"])))


def _huber(x: np.ndarray, y: np.ndarray, clusters: int) -> PowerLaw:
    """Fit; the first `clusters` rows are clusters, whose scatter is that of the law."""
    # one pseudo-observation of 0 on all coefficients but the constant; own choice, as some rest on few rows
    ridge = np.diag([1e-6] + [1.0] * (x.shape[1] - 1))
    weight = np.ones(len(y))
    for _ in range(200):
        b = np.linalg.solve((x * weight[:, None]).T @ x + ridge, (x * weight[:, None]).T @ y)
        r = y - x @ b
        scale = 1.4826 * float(np.median(np.abs(r))) + 1e-9  # MAD to sigma of a normal distribution
        # Huber (1964), k = 1 (own choice)
        new_weight = np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-12))
        if np.abs(new_weight - weight).max() < 1e-9:
            break
        weight = new_weight
    ln_sd = float(
        np.quantile(np.abs(r[:clusters]), 0.8) / 1.2816
    )  # half-width of the central 80% over its normal value
    covariance = np.linalg.inv((x * weight[:, None]).T @ x + ridge) * ln_sd**2
    return PowerLaw(tuple(b.tolist()), tuple(covariance.ravel().tolist()), ln_sd, len(y))


def with_law(chips: Mapping[str, Accelerator], law: PowerLaw) -> dict[str, Accelerator]:
    """Return the chips with `w_it` by the law where its basis is the law."""
    out = {}
    for name, chip in chips.items():
        if chip.w_it_basis == "law":
            over, ln_sd = law.predict(features(chip.tdp_w, dense=float(is_dense(name))))
            chip = replace(chip, w_it=float(f"{chip.tdp_w * np.exp(over):.3g}"), w_it_ln_sd=round(ln_sd, 2))
        out[name] = chip
    return out


def main() -> None:
    """Write chips.csv and chip_power.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with epoch_gpu_clusters.csv and epoch_ml_hardware.csv"
    )
    folder = parser.parse_args().data
    chips = read_chips(folder)
    found = fit(read_clusters(folder), anchors(chips))
    target = Path(__file__).parents[1] / "reference"
    with (target / "chips.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(_COMMENT)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f.name for f in fields(Accelerator)])
        for chip in with_law(chips, found).values():
            writer.writerow([_cell(getattr(chip, f.name)) for f in fields(Accelerator)])
    size = len(FEATURES)
    with (target / "chip_power.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/fit_chip_power.py to chips of known IT power and to Epoch AI's GPU clusters "
            "whose power is independent of their chips (CC-BY 4.0)\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("feature", "coefficient", "covariance", "ln_sd", "n"))
        for k, name in enumerate(FEATURES):
            covariance = " ".join(f"{v:.6g}" for v in found.covariance[k * size : (k + 1) * size])
            writer.writerow([name, f"{found.coefficients[k]:.6g}", covariance, f"{found.ln_sd:.4g}", found.n])


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

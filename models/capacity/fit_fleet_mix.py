"""Shares of chips in the power of AI fleets by year and kind of operator, from sites whose chips are known.

In: Epoch AI's chip quantities of data centers (epoch.ai/data, CC-BY 4.0), our own rows of fleet_mix.csv. Out, by
`python -m overwatt.models.capacity.fit_fleet_mix --data DIR`: models/reference/fleet_mix.csv.

A site counts with the power of its chips on the first of July, each site alike: its size says nothing on the chips
of the next one. The mix of the year before counts as `PRIOR_SITES` more, because sites that nobody writes about keep
older chips. Operators: those who make their own chips, 'buyer' for all others, and none for all together.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import pandas as pd

from overwatt.models.reference import facts

YEARS = (2024, 2025, 2026)
"""Years with several sites each; quantities after July 2026 are projections of the table."""
PRIOR_SITES = 2.0
"""Own choice: about a fifth of the weight in 2024, a twentieth in 2026."""
MAKERS = ("amazon", "google")
# the table names Blackwell by its base chip; its notes say that the racks are NVL72
_BASE = {"B200": "GB200 NVL72", "B300": "GB300 NVL72"}
_SOURCE = "Derived: Epoch AI, chip quantities of {} sites (CC-BY 4.0) and w_it; mix of the year before as {:g} sites"
_MIN_WEIGHT = 0.01


def read_sites(folder: Path) -> pd.DataFrame:
    """Return one row per site, year and chip: site, operator ('amazon', 'google', 'buyer'), year, chip, mw (IT).

    Sites with chips of Huawei are left out: Chinese fleets follow export rules, and three sites are not a mix.
    """
    q = pd.read_csv(folder / "epoch_data_center_chip_quantities.csv")
    q["n"] = pd.to_numeric(q["Number of Units"], errors="coerce")
    q = q[q["n"] > 0]
    chinese = set(q["Data center"][q["Chip type"].str.contains("Ascend", na=False)])
    owners = q.groupby("Data center")["Owner"].agg(lambda names: " ".join(map(str, names)))
    out = []
    for (site, chip), rows in q[~q["Data center"].isin(chinese)].groupby(["Data center", "Chip type"]):
        # the name says it where the owner is left empty
        words = set(re.findall(r"[a-z]+", f"{owners.get(str(site))} {site}".lower().replace("aws", "amazon")))
        operator = next((m for m in MAKERS if m in words), "buyer")
        unit = facts.accelerator(_BASE.get(str(chip), str(chip)))
        for year in YEARS:
            # a quantity is that of this chip at the site, and stands until it is given anew
            before = rows[rows["Date"] <= f"{year}-07-01"].sort_values("Date")
            if len(before):
                mw = float(before["n"].iloc[-1]) * unit.w_it / 1e6
                out.append({"site": site, "operator": operator, "year": year, "chip": unit.chip, "mw": mw})
    return pd.DataFrame(out)


def shares(sites: pd.DataFrame, first: dict[str, float], year: int) -> dict[str, float]:
    """Return the share of each chip in the power of a fleet in a year; sites alike, `first` as `PRIOR_SITES` more.

    Args:
        sites: as `read_sites` returns it, of one kind of operator or all.
        first: shares of the year before.
        year: the year.
    """
    now = sites[sites["year"] == year]
    share = now["mw"] / now.groupby("site")["mw"].transform("sum")
    total = share.groupby(now["chip"]).sum().to_dict()
    for chip, weight in first.items():
        total[chip] = total.get(chip, 0.0) + PRIOR_SITES * weight
    whole = sum(total.values())
    kept = {str(chip): v / whole for chip, v in total.items() if v / whole >= _MIN_WEIGHT}
    return {chip: v / sum(kept.values()) for chip, v in sorted(kept.items(), key=lambda item: (-item[1], item[0]))}


def fit(sites: pd.DataFrame, own: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows of fleet_mix.csv: our own, and those of the sites, as of `read_sites`, for `YEARS`."""
    rows = [*own]
    for operator in ("", *MAKERS, "buyer"):
        of = sites if not operator else sites[sites["operator"] == operator]
        mix = {r["chip"]: float(r["weight"]) for r in own if not r["country"] and r["operator"] == operator}
        for year in YEARS:
            mix = shares(of, mix, year)
            source = _SOURCE.format(of[of["year"] == year]["site"].nunique(), PRIOR_SITES)
            rows += [
                {
                    "year": str(year),
                    "country": "",
                    "operator": operator,
                    "chip": c,
                    "weight": f"{w:.3f}",
                    "source": source,
                }
                for c, w in mix.items()
            ]
    return rows


def main() -> None:
    """Write fleet_mix.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Epoch AI's tables of data centers")
    sites = read_sites(parser.parse_args().data)
    target = Path(__file__).parents[1] / "reference" / "fleet_mix.csv"
    with target.open(encoding="utf-8", newline="") as file:
        own = [r for r in csv.DictReader(file) if not r["source"].startswith("Derived: ")]
    rows = fit(sites, own)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["year", "country", "operator", "chip", "weight", "source"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

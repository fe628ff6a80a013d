"""Power per counted machine: each row can be checked by its words, and a site left out does not decide its own."""

import csv
import math
import re

import pytest

from overwatt.models.capacity.counted_units import counted_units, unit_power

MACHINES = ("air_chiller", "tower_cell", "dry_cooler", "generator")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_site_left_out_does_not_count(machine):
    every = unit_power(machine)
    for site in {r.site for r in counted_units() if r.machine == machine}:
        rest = unit_power(machine, without=site)
        assert rest.sites == every.sites - 1
        assert rest.ln_sd > every.ln_sd
        # within the spread that is stated for the next site
        own = [math.log(r.mw / r.units) for r in counted_units() if r.machine == machine and r.site == site]
        assert abs(sum(own) / len(own) - math.log(rest.mw)) < 1.2816 * rest.ln_sd


def test_rows_are_whole():
    for row in counted_units():
        assert row.machine in MACHINES
        assert row.basis == ("facility" if row.machine == "generator" else "it")
        assert row.units > 0
        assert row.mw > 0
        assert len(row.quote) > 20
        assert row.reading
        assert row.source


def test_quotes_of_epoch_stand_in_its_tables(realdata):
    text = ""
    for name in ("timelines", "chip_quantities"):
        with (realdata / "facilities" / f"epoch_data_center_{name}.csv").open(encoding="utf-8") as file:
            text += " ".join(" ".join(row) for row in csv.reader(file))
    rows = [r for r in counted_units() if r.source.startswith("Epoch")]
    assert len(rows) >= 6
    for row in rows:
        assert all(part in text for part in re.split(" … ", row.quote)), row.quote

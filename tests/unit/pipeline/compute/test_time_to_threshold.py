"""Time to a threshold: laws of the crossing, waits given the time spent, stages read from text."""

import math
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.construction_delay import hazards
from overwatt.models.capacity.fit_construction_delay import fit, waits
from overwatt.pipeline.compute.time_to_threshold import SiteTrack, stage_delays, time_to_threshold
from tests.support import naming

LIGHT = settings(max_examples=30, deadline=None)
START = date(2026, 1, 1)
stages = st.sampled_from(["land", "roof", "equipment", "operation"])


def track(name="a", rate=1e23, stage="operation", seen=START, draws=400):
    return SiteTrack(name, np.full(draws, rate), stage, seen)


@given(st.floats(1e20, 1e26), st.floats(1e22, 1e28))
@LIGHT
def test_a_running_site_passes_after_flop_over_rate(rate, flop):
    found = time_to_threshold([track(rate=rate)], flop, start=START)
    assert found.days == pytest.approx(flop / rate)


@LIGHT
@given(stages, stages, st.floats(1e24, 1e27), st.floats(1.0, 10.0))
def test_later_with_more_flop_and_no_later_with_more_sites(one, two, flop, times):
    a, b = track("a", stage=one), track("b", 3e22, stage=two)
    alone, more, both = (
        time_to_threshold(s, f, start=START).days for s, f in (([a], flop), ([a], flop * times), ([a, b], flop))
    )
    assert (more >= alone).all()
    assert (both <= alone + 1e-6).all()


@LIGHT
@given(st.lists(st.tuples(stages, st.floats(1e20, 1e24)), min_size=1, max_size=5), st.floats(1e24, 1e27))
def test_the_crossing_is_where_the_sum_is(sites, flop):
    tracks = [track(str(k), rate, stage) for k, (stage, rate) in enumerate(sites)]
    days = time_to_threshold(tracks, flop, start=START).days
    ones = [time_to_threshold([t], 1e-6 * t.flop_per_day[0], start=START).days - 1e-6 for t in tracks]
    total = sum(t.flop_per_day * np.maximum(days - begin, 0) for t, begin in zip(tracks, ones, strict=True))
    assert total == pytest.approx(flop, rel=1e-3)


def test_no_rate_never_passes():
    found = time_to_threshold([track(rate=0.0)], 1e25, start=START)
    assert np.isinf(found.days).all()
    assert found.probability == 0
    assert set(found.dates.values()) == {None}


def test_a_later_stage_is_sooner_in_operation():
    medians = [np.median(stage_delays(s, 0.0, 4000, 1)) for s in ("land", "roof", "equipment", "operation")]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] == 0


@LIGHT
@given(st.sampled_from(["land", "roof", "equipment"]), st.floats(0.0, 60.0))
def test_waits_given_the_time_spent(stage, spent):
    found = stage_delays(stage, spent, 500, 3)
    assert (found >= 0).all()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, stage_delays(stage, spent, 500, 3))


@pytest.mark.parametrize(
    ("sites", "flop", "words"),
    [([], 1e25, ("sites",)), ([track()], -1.0, ("flop", "-1")), ([track()], math.nan, ("flop", "nan")),
     ([track(stage="x")], 1e25, ("stage", "'x'", "land", "roof")),
     ([track("a"), track("b", draws=3)], 1e25, ("sites", "draws"))],
)  # fmt: skip
def test_nonsense_is_refused(sites, flop, words):
    with pytest.raises(ConfigError, match=naming(*words)):
        time_to_threshold(sites, flop, start=START)


def table(rows):
    return pd.DataFrame(rows, columns=["Data center", "Date", "Construction status", "Buildings operational"])


def test_stages_are_read_and_censored():
    found = waits(table([
        ("s", "2024-01-01", "Land clearing begins for Building 1-2.", 0),
        ("s", "2024-11-01", "Roof complete on building 1. Building 2 roof is almost complete.", 0),
        ("s", "2025-02-01", "Cooling towers are being installed at Building 1.", 0),
        ("s", "2025-06-01", "Building 1 is operational.", 1),
        ("s", "2027-06-01", "Building 2 is operational (projection).", 2),
    ]))  # fmt: skip
    by = {(w.stage, w.building): w for w in found}
    assert set(by) == {("land", 1), ("land", 2), ("roof", 1), ("equipment", 1)}
    assert by["roof", 1].ended
    assert by["roof", 1].days == 212
    assert not by["land", 2].ended


def test_nothing_after_the_reader_is_used():
    rows = [("s", "2024-01-01", "Land clearing begins.", 0), ("s", "2025-06-01", "Building 1 is operational.", 1)]
    (wait,) = waits(table(rows), "2025-01-01")
    assert not wait.ended
    assert wait.days == 366


def test_the_fit_recovers_a_wait():
    rng = np.random.default_rng(0)
    rows = []
    for k, months in enumerate(np.exp(rng.normal(math.log(20), 0.3, 60))):
        begin = pd.Timestamp("2020-01-01")
        end = begin + pd.Timedelta(days=30.4375 * months)
        rows.append((f"s{k}", begin.date().isoformat(), "Land clearing begins.", 0))
        rows.append((f"s{k}", end.date().isoformat(), "It runs.", 1))
    h = fit(waits(table(rows)))["land"]
    assert math.exp(h.mu) == pytest.approx(20, rel=0.1)
    assert h.sigma == pytest.approx(0.3, rel=0.25)


def test_shipped_waits_are_in_order():
    known = hazards()
    assert known["land"].mu > known["roof"].mu > known["equipment"].mu

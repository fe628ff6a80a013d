import xml.etree.ElementTree as ET

import numpy as np
import pytest

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection import plan as inspection
from overwatt.pipeline.report.figures import inspection_plan
from tests.support import naming


def places(n=40, seed=0):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["undeclared", "matched", "nothing found"], n)
    score = np.where(kinds == "undeclared", rng.lognormal(0, 1, n), 0.0)
    return inspection.Places(
        tuple(f"p{i}" for i in range(n)), score, rng.uniform(0.1, 1, n), np.where(kinds == "nothing found", 0.5, 0.0),
        np.ones(n), tuple(kinds.tolist()),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_the_trade_falls_from_the_best_worst_case(seed):
    of = places(seed=seed)
    plan = inspection.plan(of, 6)
    trade = inspection_plan.trade(of, 6)
    assert trade.condition[0] == 0.0
    assert (np.diff(trade.naive) >= -1e-6).all()
    assert (np.diff(trade.worst) <= 1e-6).all()
    assert trade.worst[0] == pytest.approx(plan.free_optimum, abs=1e-6)
    assert trade.uniform[1] == pytest.approx(plan.uniform)
    assert trade.top[0] == pytest.approx(plan.naive_top)
    assert (trade.naive >= trade.condition * trade.top[0] - 1e-6)[trade.worst > trade.uniform[1] + 1e-6].all()
    at = int(np.argmin(abs(trade.condition - inspection.NAIVE)))
    assert (trade.naive[at], trade.worst[at]) == pytest.approx((plan.naive, plan.worst_case), abs=1e-6)


def test_the_plot_is_the_same_each_time_and_names_are_text():
    of = places()
    of = inspection.Places(
        of.place_id, of.score, of.value, of.seen, of.cost, tuple(f"{s} <$x_$&>\x07" for s in of.stratum)
    )
    plan, trade = inspection.plan(of, 6), inspection_plan.trade(of, 6, points=4)
    text = inspection_plan.svg(of, plan, trade)
    assert text == inspection_plan.svg(of, plan, trade)
    root = ET.fromstring(text)
    words = " ".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "undeclared <$x $&>?" in words
    for mark in ("uniform draw", "list of the highest scores", "chosen plan, condition 0.8"):
        assert mark in words
    assert inspection_plan.png(of, plan, trade) == inspection_plan.png(of, plan, trade)


def test_one_place_without_score_can_be_drawn():
    of = inspection.Places(("a",), np.zeros(1), np.ones(1), np.zeros(1), np.ones(1), ("undeclared",))
    trade = inspection_plan.trade(of, 1.0)
    inspection_plan.png(of, inspection.plan(of, 1.0), trade)
    assert trade.worst[0] == pytest.approx(inspection.SENSITIVITY)


def test_many_places_take_few_plans():
    trade = inspection_plan.trade(places(60), 6, points=3)
    assert trade.condition.tolist() == pytest.approx([0.0, 0.4, 0.8])


def test_impossible_budgets_are_refused():
    with pytest.raises(ConfigError, match=naming("--budget", 0)):
        inspection_plan.trade(places(), 0.0)

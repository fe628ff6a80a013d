"""Thresholds against models, power, sites, and ways around them."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import lognorm, norm

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline import quantiles, tables
from overwatt.pipeline.compute import ai_models, evasion, thresholds
from overwatt.pipeline.report.figures import thresholds as thresholds_plot
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES
from overwatt.workflows.assess import thresholds as thresholds_command
from overwatt.workflows.io.tabular import read_models
from tests.support import naming

LIGHT = settings(max_examples=40, deadline=None)
HEADER = "Model,Organization,Publication date,Country (of organization),Training compute (FLOP),Confidence"
TABLE_5_2 = {  # docs/methods.md, section 5.2: facility MW at 30, 90 and 180 days, by chip in the order of CHIPS
    1e24: ((4.2, 1.4, 0.7), (2.2, 0.75, 0.37), (1.4, 0.48, 0.24), (0.70, 0.23, 0.12), (2.8, 0.94, 0.47)),
    1e25: ((42, 14, 7), (22, 7.5, 3.7), (14, 4.8, 2.4), (7, 2.3, 1.2), (28, 9.4, 4.7)),
    1e26: ((420, 140, 70), (224, 75, 37), (144, 48, 24), (70, 23, 12), (282, 94, 47)),
    1e27: ((4200, 1400, 700), (2240, 747, 373), (1440, 480, 240), (701, 234, 117), (2820, 940, 470)),
}


def csv(tmp_path, *rows, header=HEADER):
    path = tmp_path / "models.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def models_of(flop, ln_sd=0.67, **columns):
    n = len(flop)
    base = {
        "model": "m", "organisation": "o", "country": "c", "year": 2024,
        "flop": flop, "ln_sd": ln_sd, "stated": True,
    }  # fmt: skip
    return pd.DataFrame({k: v if isinstance(v, list | np.ndarray) else [v] * n for k, v in (base | columns).items()})


def sites_of(*quantiles, p=0.8):
    frame = pd.DataFrame(np.array(quantiles), columns=[f"flop_90d_{n}" for n in QUANTILE_NAMES])
    return frame.assign(site_id=[f"s{i}" for i in range(len(frame))], p_data_center=p)


def test_table_5_2():
    rows = {(r["flop"], r["days"], r["chip"]): r["facility_mw"] for r in thresholds.power_table()}
    for flop, by_chip in TABLE_5_2.items():
        for chip, stated in zip(thresholds.CHIPS, by_chip, strict=True):
            for days, mw in zip(thresholds.DAYS, stated, strict=True):
                half_a_digit = 0.5 * 10.0 ** (np.floor(np.log10(mw)) - 1)  # the table is rounded to two digits
                assert rows[flop, days, chip] == pytest.approx(mw, rel=0.01, abs=half_a_digit)


def test_what_imagery_can_do_is_what_the_methods_say():
    found = {v["flop"]: v["verdict"] for v in thresholds.verdicts(90)}
    assert found == {
        1e21: "cannot", 1e22: "cannot", 1e23: "cannot", 1e24: "cannot", 1e25: "partly", 1e26: "can", 1e27: "can",
    }  # fmt: skip
    assert [v["verdict"] for v in thresholds.verdicts(30)][:4] == ["cannot"] * 4  # first in the list


@given(st.floats(1, 3650))
@LIGHT
def test_verdicts_get_better_with_flop_and_gaps_are_floor_over_power(days):
    rows = sorted(thresholds.verdicts(days), key=lambda r: r["flop"])
    order = ["cannot", "partly", "can"]
    assert (np.diff([order.index(r["verdict"]) for r in rows]) >= 0).all()
    for r in rows:
        assert r["optical_gap_high"] * r["mw_low"] == pytest.approx(10.0)
        assert r["thermal_gap_low"] * r["mw_high"] == pytest.approx(300.0)
        assert (r["verdict"] == "cannot") == (r["optical_gap_low"] > 1)


def test_the_gap_of_16_h100e():
    gap = thresholds.cluster_gap()
    assert 25 <= gap["kw"] <= 30
    assert np.log10(gap["optical_gap_high"]) == pytest.approx(2.5, abs=0.1)
    assert np.log10(gap["thermal_gap"]) == pytest.approx(4.0, abs=0.1)


def test_reads_a_table(tmp_path):
    path = csv(
        tmp_path, '"A, B","Org1,Org2",2024-05-01,"France,France",2e25,Confident', "",
        "C,,2023,,,", "D,Org1,,China,1e23,odd",
    )  # fmt: skip
    found = read_models(path)
    assert found["year"].tolist() == [2024, 2023, 0]
    assert found["flop"].isna().tolist() == [False, True, False]
    assert found["stated"].tolist() == [True, False, False]
    assert np.exp(found["ln_sd"] * norm.ppf(0.95)).tolist() == pytest.approx([3, 30, 30])
    result = ai_models.against_models(found)
    assert (result["with_compute"], result["without_compute"]) == (2, 1)
    by = {g["name"]: [c["published"] for c in g["counts"]] for g in result["by_country"]}
    assert by == {"France": [1, 1, 1, 1, 1, 0, 0], "China": [1, 1, 1, 0, 0, 0, 0], "not stated": [0] * 7}
    without = {g["name"]: (g["models"], g["without_compute"]) for g in result["by_organisation"]}
    assert without == {"Org1": (2, 0), "Org2": (1, 0), "not stated": (0, 1)}
    assert [g["name"] for g in result["by_year"]] == ["2023", "2024", "undated"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,b,2024-01-01,c,1e24,Likely", "a,b,2024-01-01,c,-5,Likely"], (3, "Training compute (FLOP)", "'-5'")),
        (["", "a,b,2024-01-01,c,nan,Likely"], (3, "Training compute (FLOP)", "'nan'")),
        (["a,b,2024-01-01,c,1e400,Likely"], (2, "Training compute (FLOP)", "1e400")),
        (["a,b,2024-01-01,c,many,Likely"], (2, "Training compute (FLOP)", "many")),
        (["a,b,yesterday,c,1e24,Likely"], (2, "Publication date", "yesterday")),
        (["a,b,0001-01-01,c,1e24,Likely"], (2, "Publication date", "0001-01-01")),
        (["a,b,2024-01-01,c,1e24,Likely,x,y"], (2, "CSV")),
        (['"a,b,2024'], ("models.csv", "CSV")),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, words):
    with pytest.raises(ConfigError, match=naming("models.csv", *words)):
        read_models(csv(tmp_path, *rows))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b"a,b\n1,2\n", (HEADER + ",Model\n").encode()])
def test_a_bad_file_is_refused(tmp_path, content):
    path = tmp_path / "models.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=naming("models.csv")):
        read_models(path)
    with pytest.raises(ConfigError, match=naming("none.csv")):
        read_models(tmp_path / "none.csv")


@given(st.lists(st.tuples(st.floats(15, 28), st.integers(2010, 2026), st.integers(0, 40)), max_size=60))
@settings(max_examples=10, deadline=None)
def test_laws_of_counts(rows):
    flop = np.array([10.0 ** r[0] for r in rows])
    frame = models_of(flop, 1e-12, year=[r[1] for r in rows], country=[f"c{r[2]}" for r in rows])
    result = ai_models.against_models(frame)
    published = [t["published"] for t in result["thresholds"]]
    assert published == [int((flop >= f).sum()) for f in thresholds.THRESHOLDS_FLOP]
    for key in ("by_year", "by_country", "by_organisation"):
        sums = np.sum([[c["published"] for c in g["counts"]] for g in result[key]] or [[0] * 7], axis=0)
        assert sums.tolist() == published  # one country and organisation each
    for t in result["thresholds"]:
        assert t["published"] + t["missed"] == len(rows)
        assert 0 <= t["flop_share"]["published"] <= 1
    json.dumps(result, allow_nan=False)


def test_sites_of_unknown_power_are_counted_and_not_judged():
    table = sites_of(np.full(9, np.nan), np.full(9, 1e25))
    above = thresholds.sites_above(table)
    found = thresholds.sites_summary(above, without_flop=len(table) - len(above))
    assert (found["sites_total"], found["sites_without_flop"], len(found["sites"])) == (2, 1, 1)
    assert any("1 sites of unknown power" in note for note in found["notes"])


def test_drawn_counts_have_the_right_spread():
    flop = 10.0 ** np.linspace(22, 27, 300)
    sd = np.log(10.0) / norm.ppf(0.95)
    result = ai_models.against_models(models_of(flop, sd))
    for t in result["thresholds"]:
        p = norm.sf((np.log(t["flop"]) - np.log(flop)) / sd)
        mean, spread = p.sum(), np.sqrt((p * (1 - p)).sum())
        assert t["p05"] == pytest.approx(mean - 1.645 * spread, abs=1.5)
        assert t["p95"] == pytest.approx(mean + 1.645 * spread, abs=1.5)
    assert result == ai_models.against_models(models_of(flop, sd))


def test_a_large_table_of_many_names(tmp_path):
    n = 50_000
    names = [f"o{i}" for i in range(n)]
    result = ai_models.against_models(models_of(np.full(n, 1e24), organisation=names))
    assert [g["models"] for g in result["by_organisation"]] == [1] * 12 + [n - 12]
    assert result["by_organisation"][-1]["name"] == f"{n - 12} others"


@given(st.floats(-3, 3), st.floats(0.2, 3), st.sampled_from([30.0, 90.0, 365.0]))
@LIGHT
def test_a_log_normal_site_gives_its_own_probabilities(shift, sd, days):
    dist = lognorm(sd, scale=1e25 * np.exp(shift))
    above = thresholds.sites_above(sites_of(dist.ppf(QUANTILES)), days=days)
    found = above.filter(like="p_above_").iloc[0].to_numpy()
    assert found == pytest.approx([dist.sf(f * 90 / days) for f in thresholds.THRESHOLDS_FLOP], abs=1e-6)


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e18, 1e29)), min_size=9, max_size=9))
@LIGHT
def test_laws_of_probability_above(values):
    q = np.sort(np.array(values))[None, :]
    grid = np.sort(np.concatenate([np.geomspace(1e17, 1e30, 40), q[0][q[0] > 0]]))
    p = np.array([quantiles.probability_above(q, f)[0] for f in grid])
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) <= 1e-12).all()
    for i, value in enumerate(q[0]):
        if value > 0 and (q[0] == value).sum() == 1 and not (i == 8 and q[0][7] == 0):
            assert quantiles.probability_above(q, value)[0] == pytest.approx(1 - QUANTILES[i])


def test_sites_against_thresholds():
    many, none = lognorm(1.0, scale=1e26).ppf(QUANTILES), np.zeros(9)
    above = thresholds.sites_above(sites_of(none, many))
    assert above["site_id"].tolist() == ["s1", "s0"]
    summary = thresholds.sites_summary(above)
    assert [t["verdict"] for t in summary["thresholds"]][:5] == ["cannot"] * 4 + ["partly"]
    at = {t["flop"]: t for t in summary["thresholds"]}
    assert at[1e26]["expected_sites"] == pytest.approx(0.8 * 0.5)
    assert (at[1e21]["sites_p50"], at[1e27]["sites_p50"]) == (1, 0)


@pytest.mark.parametrize(
    "spoil", [[np.nan] + [1e25] * 8, [-1.0] + [1e25] * 8, list(range(9, 0, -1)), [1.0] * 8 + [np.inf]]
)
def test_unusable_quantiles_are_refused(spoil):
    with pytest.raises(ConfigError, match=naming("s1", "flop_90d")):
        thresholds.sites_above(sites_of([1e25] * 9, spoil))


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
def test_unusable_days_are_refused(days):
    for function in (thresholds.power_table, thresholds.verdicts, evasion.gaming):
        with pytest.raises(ConfigError, match=naming("days", 3650)):
            function(days)
    with pytest.raises(ConfigError, match=naming("doubling_months", 1200)):
        evasion.gaming(90, doubling_months=days if days != 1e9 else 0.0)


@given(st.floats(1, 365), st.floats(1, 60))
@LIGHT
def test_laws_of_gaming(days, months):
    found = evasion.gaming(days, doubling_months=months)
    for i, flop in enumerate(thresholds.THRESHOLDS_FLOP):
        split, inference, algorithms = found["split"][i], found["inference"][i], found["algorithms"][i]
        needed = thresholds.power_needed_mw(flop, days, found["chip"])
        assert split["totals"] == pytest.approx([0.95 * n * flop for n in found["site_counts"]])
        assert split["hidden_sites"] * 5.0 >= needed * (1 - 1e-6)
        assert (split["hidden_sites"] - 1) * 5.0 < needed
        assert np.array(inference["facility_mw"]) * found["training_shares"] == pytest.approx(needed)
        m = algorithms["months_to_floor"]
        assert algorithms["months_to_floor_with_chips"] <= m
        if m > 0:
            assert needed * 2 ** (-m / months) == pytest.approx(5.0)
        else:
            assert needed <= 5.0


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    import geopandas as gpd

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "sites.parquet").write_bytes(b"x")
    q = lognorm(1.0, scale=1e25).ppf(QUANTILES)
    frame = sites_of(q, q * 2).assign(site_id=["=a$_{", "\x1b[31mred"])
    monkeypatch.setattr(gpd, "read_parquet", lambda path: frame)
    monkeypatch.setattr(tables, "conform", lambda rows, table: rows)
    return folder


def test_the_command_writes_the_same_twice(tmp_path, run_folder):
    models = csv(tmp_path, "A,O$,2024-05-01,\x1b[1mX,2e25,Confident", "B,P,2023-01-01,Y,,")
    texts = []
    for name in ("one", "two"):
        out = tmp_path / name
        result = thresholds_command.run(models, run_folder, days=90.0, doubling_months=8.0, out=out)
        files = ("thresholds.svg", "thresholds_sites.csv")
        texts.append([(out / f).read_text() for f in files])
        assert json.loads((out / "thresholds.json").read_text())["models"]["without_compute"] == 1
        json.dumps(result, allow_nan=False)
        lines = thresholds_command.lines(result)
        assert all(line.isprintable() for line in lines)
        assert any("1e21" in line for line in lines[:4])  # what imagery cannot verify comes first
    assert texts[0] == texts[1]
    assert "'=a$_{" in texts[0][1]
    assert "<dc:date>" not in texts[0][0]


def test_without_models_or_run_the_rest_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERWATT_REAL_DATA", str(tmp_path))
    result = thresholds_command.run(None, None, days=45.0, doubling_months=8.0, out=None)
    assert result["models"] is None
    assert "--models" in result["models_left_out"]
    assert {r["days"] for r in result["power"]} == {30.0, 45.0, 90.0, 180.0}
    assert any("--run" in line for line in thresholds_command.lines(result))
    assert len(thresholds_plot.figure(result).axes) == 2
    with pytest.raises(ConfigError, match=naming("sites.parquet")):
        thresholds_command.run(None, tmp_path, days=90.0, doubling_months=8.0, out=None)


def test_options_and_one_line_of_json(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from overwatt.workflows.cli.main import app

    monkeypatch.setenv("OVERWATT_REAL_DATA", str(tmp_path))
    done = CliRunner().invoke(app, ["thresholds", "--json", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    result = json.loads(done.stdout)  # one object and nothing else
    assert result["plot"].endswith("thresholds.svg")


@pytest.mark.realdata
def test_real_models(realdata):
    path = realdata / "facilities" / "epoch_notable_models.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in the shared data")
    result = ai_models.against_models(read_models(path))
    at = {t["flop"]: t for t in result["thresholds"]}
    assert at[1e26]["published"] >= 3  # Grok 3, Grok 4, GPT-4.5
    assert at[1e25]["p95"] > at[1e25]["published"] > at[1e26]["published"]
    assert at[1e24]["flop_share"]["published"] > 0.95

"""The plot of power intervals: accessible, deterministic, without style."""

from overwatt.pipeline.report.figures.power_intervals import interval_plot
from overwatt.pipeline.tables import conform, empty
from tests.report_data import example, site_rows


def test_interval_plot_is_accessible_deterministic_and_free_of_style() -> None:
    data = example()
    svg = interval_plot(data.sites, data.ledger)
    assert svg == interval_plot(data.sites, data.ledger)
    assert "style=" not in svg
    assert "<style" not in svg
    assert "http-equiv" not in svg
    assert 'role="img"' in svg
    for site_id in data.sites["site_id"]:
        assert f">{site_id}<" in svg
    assert "var(--declared)" in svg
    assert "var(--declared)" not in interval_plot(data.sites)
    odd = data.sites.assign(site_id=["$a_b$", "<i>&", "c"])
    assert "&lt;i&gt;&amp;" in interval_plot(odd)
    assert "$a_b$" in interval_plot(odd)
    assert interval_plot(conform(site_rows(70), "sites")).count(">N45") == 60
    assert interval_plot(empty("sites")).startswith("<svg")

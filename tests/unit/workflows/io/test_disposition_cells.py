"""Cells that people type: findings, times, powers and counts are read right or refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.aoi.errors import RegistryError
from overwatt.workflows.export.fields import FINDING_WORDS
from overwatt.workflows.io.dispositions import chips_of, finding_of, power_of, time_of
from tests.support import naming

MOMENTS = st.datetimes(datetime(1973, 1, 1), datetime(2025, 1, 1)).map(lambda t: t.replace(second=0, microsecond=0))
DAYS = ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%d. %b %Y", "%b %d, %Y", "%b %d %Y", "%A, %d %B %Y", "%Y%m%d"]
CLOCKS = ["%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M%p"]


@given(MOMENTS, st.sampled_from(DAYS), st.sampled_from(CLOCKS), st.integers(-12, 14))
def test_day_clock_and_zone_are_all_read(moment, day, clock, hours):
    if day == "%d.%m.%Y" and moment.day <= 12:  # day or month first
        moment = moment.replace(day=13)
    text = moment.strftime(f"{day} {clock}")
    assert time_of(text, "w") == moment.replace(tzinfo=UTC)
    assert time_of(f"{text} UTC", "w") == moment.replace(tzinfo=UTC)
    zone = timezone(timedelta(hours=hours))
    for offset in (f"{hours:+03d}:00", f"{hours:+03d}00", f"{hours:+d}"):
        assert time_of(f"{text} {offset}", "w") == moment.replace(tzinfo=zone)


@pytest.mark.parametrize(
    "text",
    ["2024-12-25 10:30 CET", "2024-12-25 22:30 PM", "2024-12-25 0:30 am", "2024-12-25 10h30", "2024-12-25 24:30",
     "2024-12-25 10:30 +99", "10:30 2024-12-25", "2024-12-25 10:30 10:40", "2024-12", "12/25/24", "UTC 25 Dec 2024"],
)  # fmt: skip
def test_a_time_of_which_a_part_is_not_understood_is_refused(text):
    with pytest.raises(RegistryError, match=naming("w", text, "ISO 8601")):
        time_of(text, "w")


@pytest.mark.parametrize("mark", [",", ".", "?"])
@given(number=st.integers(1, 999_999).map(lambda k: k / 1000))
def test_a_number_of_the_file_is_no_text(mark, number):
    assert power_of(number, "w", mark) == number


@pytest.mark.parametrize("text", ["1.234", "1,250", "25.000"])
def test_what_may_be_thousands_is_refused_where_no_decimal_mark_is_known(text):
    for read in (power_of, chips_of):
        with pytest.raises(RegistryError, match=naming(text, "thousands")):
            read(text, "w", "?")


def test_a_known_decimal_mark_decides():
    assert (power_of("1,250", "w", "."), power_of("1,250", "w", ",")) == (1250.0, 1.25)
    assert (chips_of("25.000", "w", ","), chips_of("25,000", "w", ".")) == (25_000, 25_000)
    for text, mark in (("25.000", "."), ("25,000", ",")):
        with pytest.raises(RegistryError, match=naming(text, "thousands")):
            chips_of(text, "w", mark)


def test_findings_are_known_by_the_words_of_the_printed_list():
    assert {k: finding_of(words, "w") for k, words in FINDING_WORDS.items()} == {k: k for k in FINDING_WORDS}

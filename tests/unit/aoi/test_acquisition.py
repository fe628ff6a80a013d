"""Days on which imagery can have been taken."""

from datetime import UTC, date, datetime, timedelta

import pytest

from overwatt.aoi.acquisition import FIRST_DAY, possible_day

TODAY = datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("day", "possible"),
    [
        (FIRST_DAY, True),
        (FIRST_DAY - timedelta(days=1), False),
        (TODAY, True),
        (TODAY + timedelta(days=3), False),
        (date(202, 1, 1), False),
        (date.max, False),
    ],
)
def test_imagery_is_of_the_age_of_satellites_and_not_of_the_future(day, possible):
    assert possible_day(day) == possible

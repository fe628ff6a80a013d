"""Days on which imagery can have been taken."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

FIRST_DAY = date(1972, 7, 23)
"""Launch of Landsat 1, the first satellite with public imagery of the land."""


def possible_day(day: date) -> bool:
    """Return whether imagery can be of that day: not before `FIRST_DAY`, not in the future."""
    # a day more, because it may be tomorrow already where the image was dated
    return FIRST_DAY <= day <= datetime.now(UTC).date() + timedelta(days=1)

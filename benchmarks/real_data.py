"""Location of the real imagery and tables, which are not part of the project."""

import os
from pathlib import Path


def real_data() -> Path:
    """Return $OVERWATT_REAL_DATA, or ../shared/data next to the checkout."""
    own = os.environ.get("OVERWATT_REAL_DATA")
    return Path(own) if own else Path(__file__).resolve().parents[2] / "shared" / "data"

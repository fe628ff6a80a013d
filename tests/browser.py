"""The real browser of the tests: Chromium without a window."""

import shutil
import subprocess
from pathlib import Path

from tests.support import HANG_S

BROWSER = next((b for b in map(shutil.which, ("/usr/bin/chromium", "chromium")) if b), None)


def browse(page: Path, *options: str) -> tuple[str, list[str]]:
    """Return what chromium printed, and the lines of its console."""
    assert BROWSER is not None
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
    quiet += "disable-component-update disable-sync hide-scrollbars enable-logging=stderr v=0"
    run = subprocess.run(
        [
            BROWSER,
            *(f"--{word}" for word in quiet.split()),
            f"--user-data-dir={page.parent / 'profile'}",
            "--virtual-time-budget=8000",
            *options,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]

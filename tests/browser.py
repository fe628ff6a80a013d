"""A real browser for the tests of pages: what it draws, and what a script finds in the page."""

import base64
import hashlib
import html as htmllib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support import HANG_S

BROWSER = next((b for b in map(shutil.which, ("/usr/bin/chromium", "chromium")) if b), None)
MISSING = "no chromium on PATH (apt-get install chromium)"


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


def with_probe(page: str, script: str) -> str:
    """The page with one more script that leaves its answer on the root element."""
    return with_script(
        page, f"document.documentElement.dataset.answer = JSON.stringify((function () {{ {script} }})());"
    )


def with_script(page: str, script: str) -> str:
    """The page with one more script, allowed by its hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    return page.replace("</body>", f"<script>{script}</script></body>")


def ask(tmp_path: Path, page: str, script: str, *options: str) -> Any:
    file = tmp_path / "report.html"
    file.write_text(with_probe(page, script), encoding="utf-8")
    dom, console = browse(file, "--dump-dom", *options)
    assert not console
    found = re.search(r'<html[^>]* data-answer="([^"]*)"', dom)
    assert found, dom[:300]
    return json.loads(htmllib.unescape(found[1]))

"""Inputs that people really have: each is built, given to the command line as its README says, and judged.

usage: python -m benchmarks.inputs [--cases DIR] [--only NAME ...] [--json]

A case is a folder with `build.py`, `README.md` (the command stands in the last pair of backquotes) and `expected.json`,
which may also stand in `benchmarks/cases/NAME/`:

    {"if_not": "wrong" or "lost",
     "any_of": [{"exit": 0, "output": [patterns], "absent": [patterns]}, {"exit": 2, "error": [patterns]}]}

`exit` is the status of the last call of `overwatt`; `output` and `absent` are searched in all that the command prints,
`error` in the one line of that last call. An outcome is right (status 0 and as expected), clear_error (refused with the
cause), traceback (of overwatt), hang (longer than `LIMIT_S`), or what `if_not` says. A case without these
expectations that ends without a traceback is a clear_error if it was refused in one line, else unjudged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "cases"
EXPECTED = Path(__file__).parent / "cases"
LIMIT_S = 240
OUTCOMES = ("right", "clear_error", "wrong", "lost", "traceback", "hang")
_COMMAND = re.compile(r"first in PATH: `(.*)`", re.DOTALL)
_ONE_LINE = re.compile(r"^overwatt: .+$", re.MULTILINE)
# notes status and standard error of every call, and passes both on
_SHIM = """#!{python}
import json, subprocess, sys
done = subprocess.run([{python!r}, "-m", "overwatt", *sys.argv[1:]], stderr=subprocess.PIPE, text=True)
sys.stderr.write(done.stderr)
with open({log!r}, "a") as file:
    file.write(json.dumps([done.returncode, done.stderr]) + "\\n")
sys.exit(done.returncode)
"""


def run_case(case: Path) -> dict[str, Any]:
    """Build and run one case in a copy of its folder; return its name, outcome and what was printed."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch) / "case"
        shutil.copytree(case, here)
        log, shims = Path(scratch) / "calls", Path(scratch) / "bin"
        shims.mkdir()
        shim = shims / "overwatt"
        shim.write_text(_SHIM.format(python=sys.executable, log=str(log)))
        shim.chmod(0o755)
        # pyenv's and other shims of `python` are passed by: the command gets this interpreter
        environment = {
            **os.environ, "PATH": f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OUT": str(Path(scratch) / "out"),
        }  # fmt: skip
        subprocess.run([sys.executable, "build.py"], cwd=here, env=environment, check=True, capture_output=True)
        found = _COMMAND.search((case / "README.md").read_text(encoding="utf-8"))
        if not found:
            raise SystemExit(f"{case.name}: README.md holds no command")
        printed, in_time = _shell(found[1], here, environment)
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    own = next((p for p in (case / "expected.json", EXPECTED / case.name / "expected.json") if p.is_file()), None)
    outcome = judge(json.loads(own.read_text(encoding="utf-8")) if own else None, calls, printed, in_time)
    return {"case": case.name, "outcome": outcome, "calls": calls, "printed": printed}


def _shell(command: str, folder: Path, environment: dict[str, str]) -> tuple[str, bool]:
    """Run a command; return what it printed, and whether it ended in time."""
    with tempfile.TemporaryFile("w+") as printed:
        run = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            run.wait(LIMIT_S)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            with contextlib.suppress(ProcessLookupError):  # servers that the command left behind
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
        printed.seek(0)
        return printed.read(), in_time


def judge(expected: dict[str, Any] | None, calls: list[list[Any]], printed: str, in_time: bool) -> str:
    """Return the outcome of a case.

    Args:
        expected: the content of `expected.json`, None if there is none.
        calls: [exit status, standard error] of each call of overwatt.
        printed: all that the command printed.
        in_time: whether it ended in time.
    """
    if not in_time or any(status in (124, 137) for status, _ in calls):
        return "hang"
    if any("Traceback (most recent call last)" in text for _, text in calls):
        return "traceback"
    status, text = calls[-1] if calls else (None, "")
    lines = _ONE_LINE.findall(text)
    if expected is None or not isinstance(expected.get("any_of"), list):
        return "clear_error" if status == 2 and len(lines) == 1 else "unjudged"
    for wanted in expected["any_of"]:
        if status != wanted.get("exit", 0):
            continue
        if status in (0, 3):  # 3: done, but some tiles failed
            if all(re.search(p, printed, re.MULTILINE) for p in wanted.get("output", ())) and not any(
                re.search(p, printed, re.MULTILINE) for p in wanted.get("absent", ())
            ):
                return "right"
        elif len(lines) == 1 and all(re.search(p, lines[0], re.IGNORECASE) for p in wanted.get("error", ())):
            return "clear_error"
    return str(expected.get("if_not", "wrong"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=Path, default=SHARED)
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = sorted(p.parent for p in options.cases.glob("*/build.py"))
    cases = [c for c in cases if not options.only or c.name in options.only]
    if not cases:
        raise SystemExit(f"{options.cases}: no cases there; give --cases DIR")
    results = []
    for case in cases:
        results.append(result := run_case(case))
        line = (
            next(iter(_ONE_LINE.findall(result["calls"][-1][1])), "") if result["calls"] else "overwatt was not called"
        )
        print(f"{result['outcome']:12s} {case.name}  {line}", file=sys.stderr, flush=True)
    count = Counter(r["outcome"] for r in results)
    summary: dict[str, Any] = {"cases": len(results), **{name: count[name] for name in OUTCOMES}}
    if count["unjudged"]:
        summary["unjudged"] = count["unjudged"]
    print(json.dumps(summary) if options.json else "  ".join(f"{k} {v}" for k, v in summary.items()))


if __name__ == "__main__":
    main()

"""Peak memory of this process, and measures that run in a process of their own.

In: the name of a function of this package and its arguments. Out: what it returns, from a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from overwatt.aoi.errors import OverwattError


def memory_mb(field: str) -> float:
    """Return a field of /proc/self/status in MB: VmRSS, or VmHWM since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OverwattError(f"/proc/self/status: no {field}; this benchmark needs Linux")


def reset_peak() -> float:
    """Forget the peak of the resident memory so far, and return the memory of now, MB."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return memory_mb("VmRSS")


def apart(module: str, **arguments: object) -> dict[str, Any]:
    """Run `module.measure(**arguments)` in a process of its own and return its JSON object."""
    code = f"import json, sys\nfrom {module} import measure\nprint(json.dumps(measure(**json.loads(sys.argv[1]))))\n"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments, default=str)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise OverwattError(f"{module} {arguments}: ended with status {done.returncode}; its error is above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

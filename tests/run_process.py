"""Runs as processes of their own: start one, wait for its parts, see what it leaves."""

import json
import signal
import subprocess
import time

from tests.support import HANG_S, command, environment


def start(workflow_file, out, *more):
    """Start a run in a process group of its own, that heeds Ctrl-C even where these tests run in the background.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    return subprocess.Popen(
        command("run", workflow_file, "--out", out, "--json", *more),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for_parts(process, out, count):
    """Wait until at least `count` parts exist; fail if the process ends before."""
    end = time.monotonic() + HANG_S
    while len(list((out / "parts").glob("*.npz"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no part came about"
        time.sleep(0.02)


def finish(workflow_file, out, *more, status=0):
    """Run to the end; return the object on the last line of standard output, and standard error."""
    process = start(workflow_file, out, *more)
    stdout, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == status, stderr
    return json.loads(stdout.splitlines()[-1]), stderr


def alive(group):
    """Processes of a process group that still run."""
    listing = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [pid for pid, pgid, stat in rows if int(pgid) == group and not stat.startswith("Z")]

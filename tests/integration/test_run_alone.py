"""A run has its folder for itself, and leaves neither process nor lock behind."""

import fcntl
import time

import pytest

from tests.run_process import alive, start, wait_for_parts
from tests.support import HANG_S, names


@pytest.mark.slow  # about 10 s
def test_a_killed_run_leaves_no_process_and_no_lock(workflow_file, tmp_path):
    """Killed alone, as the kernel does when memory runs out: its workers notice and end. About 15 s."""
    out = tmp_path / "run"
    process = start(workflow_file, out)
    wait_for_parts(process, out, 1)
    process.kill()
    process.communicate()
    end = time.monotonic() + HANG_S
    while alive(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(process.pid) == []
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_in_use_is_refused(workflow_file, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = start(workflow_file, out)
        stdout, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 2
    assert names(stderr, "overwatt", out, "another folder")
    assert stderr.count("\n") == 1
    assert stdout == ""
    assert [p.name for p in out.iterdir()] == [".lock"]

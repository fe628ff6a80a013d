"""Output files: written whole or not at all, and one line that says why not.

In: the path of a file. Out: a temporary path beside it, renamed when all is written, so that a full disk or a kill
leaves no half file that a later command would take as whole.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overwatt.aoi.errors import OutputError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""System errors that only a write can give: no space, no quota, a file larger than is allowed."""
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_AGAIN = "the same command again (a run continues where it stopped)"
_GDAL = frozenset({"rasterio", "pyogrio"})


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise OutputError where the block, which only writes, cannot write `path`."""
    try:
        yield
    except Exception as error:
        # GDAL does not pass on the number of the system's error, and one of its classes has no public name
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _GDAL:
            raise
        raise OutputError(f"{path.parent}: {path.name} cannot be written: {why(error, path.parent)}") from error


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a temporary path next to `path`; rename it into place when the block ends without an error.

    Raises:
        OutputError: the folder is full or closed to this user.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def why(error: BaseException, folder: Path) -> str:
    """Return why a write failed and what to do about it, without a line break.

    Args:
        error: what was raised.
        folder: where it was written to.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number else str(error.__cause__ or error).partition("\n")[0][:160]
    if number in _CLOSED:
        return f"{reason}; allow writing there or give another folder, then run {_AGAIN}"
    if number == errno.EFBIG:
        return f"{reason}; lift the limit of file sizes (ulimit -f) or give another folder, then run {_AGAIN}"
    if number and number not in FULL:
        return reason
    try:
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free)"
    except OSError:
        free = ""
    return f"{reason}; free space there{free} or lift the quota, then run {_AGAIN}"

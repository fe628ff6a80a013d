"""Written lists that somebody has changed since, such as a form filled in: kept beside the new ones.

In: the files about to be written. Out: changed ones under a name of their own. written.json in the same folder holds
the SHA-256 of each file as it was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from overwatt.aoi.output import writing
from overwatt.workflows.export.table import sha256_of
from overwatt.workflows.io import run_folder

WRITTEN = "written.json"
_MAX_BYTES = 100_000  # of written.json, which holds a hash per file; own choice
_WITH_SQLITE = ("-wal", "-shm")  # next to an open GeoPackage: changes that are not in the file yet


@contextmanager
def changed_files_kept(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Let files of one folder be replaced; yield a list that, at the end, names the changed files that were kept.

    A file counts as changed if it is not as it was last written here, or if that is unknown and it differs from the
    new one.

    Raises:
        OutputError: a file cannot be renamed.
    """
    note = files[0].parent / WRITTEN
    before = _noted(note)
    moved: dict[Path, Path] = {}
    kept: list[Path] = []
    for file in files:
        pending = file.with_name(f"{file.name}-wal")
        unsaved = pending.is_file() and pending.stat().st_size > 0
        if file.is_file() and (unsaved or before.get(file.name) != sha256_of(file)):
            moved[file] = _moved(file)
    yield kept
    now = {file.name: sha256_of(file) for file in files}
    for file, old in moved.items():
        if old.with_name(f"{old.name}-wal").exists() or sha256_of(old) != now[file.name]:
            kept.append(old)
        else:
            old.unlink()
    run_folder.write_json(note, now)


def _moved(file: Path) -> Path:
    """Rename NAME.xlsx to the first free NAME.kept-1.xlsx, and with it what SQLite holds beside it."""
    new = next(p for n in count(1) if not (p := file.with_name(f"{file.stem}.kept-{n}{file.suffix}")).exists())
    with writing(new):
        for ending in ("", *_WITH_SQLITE):
            own = file.with_name(file.name + ending)
            if own.is_file():
                own.rename(new.with_name(new.name + ending))
    return new


def _noted(note: Path) -> dict[str, object]:
    """Return the hash of each file as it was written; none where that is not known."""
    try:
        if note.stat().st_size > _MAX_BYTES:
            return {}
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

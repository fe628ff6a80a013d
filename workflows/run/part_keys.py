"""What a stored part depends on, read from the code itself.

In: a module name. Out: the source files that it reaches through its imports, and their hash. A tile's part
is reused only while this hash is the same, so a change in any module that can change its bits makes it
stale. The list is not kept by hand: a module that is imported tomorrow is in the hash tomorrow.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# The tile task itself, and the readers whose pixels it is given (it knows them only as a protocol).
DETECTOR_ROOTS = (
    "overwatt.workflows.run.tile",
    "overwatt.workflows.io.images",
    "overwatt.workflows.io.stac_source",
    "overwatt.workflows.io.thermal_excess",
)


@cache
def detector_code_version() -> str:
    """Return a hash, 16 hex digits, of all source files that a tile's part depends on."""
    return source_hash(*DETECTOR_ROOTS)


def source_hash(*modules: str) -> str:
    """Return a hash, 16 hex digits, of modules and of everything of ours that they import."""
    digest = hashlib.sha256()
    for name, path in sorted(reached(*modules).items()):
        digest.update(name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def reached(*modules: str) -> dict[str, Path]:
    """Return our modules that are imported, directly or not, with their files.

    Imports inside functions and those for typing alone count too: one file too many makes a part
    stale without need, one too few would reuse a wrong one. Nothing is executed.
    """
    found: dict[str, Path] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        path = _file(name)
        if path is None:
            continue
        found[name] = path
        todo += _imports(path)
        todo += [name.rpartition(".")[0]] if name.count(".") else []  # a package's own file runs first
    return found


def _imports(path: Path) -> list[str]:
    """Names of ours that a file imports; of `from a import b` both a and a.b, since b may be a module."""
    out: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            out += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            out += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in out if name.split(".")[0] == "overwatt"]


def _file(name: str) -> Path | None:
    """File of a module of ours, found on disk: asking the import system would import its parents."""
    top, *rest = name.split(".")[1:] or [""]
    package = _folder(f"overwatt.{top}" if top else "overwatt")
    if package is None:
        return None
    place = package.joinpath(*rest)
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


@cache
def _folder(package: str) -> Path | None:
    """Folder of `overwatt` or of one of its houses; None for a name that is neither."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None

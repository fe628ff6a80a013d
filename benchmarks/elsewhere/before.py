"""The weights that the present ones are compared with: a file, or one in the history of git.

They are not kept beside the present ones, because all weights in the repository stay below 25 MB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BEFORE = "8995c09:models/weights/sitenet-aerial-v2.safetensors"
"""The weights bundled before: version 2.2.0, which outlined machines on data centers only."""


def weights_before(name: str, folder: Path, repository: Path = Path(__file__).parent) -> Path:
    """Return a weights file with its card beside it; COMMIT:PATH is written to `folder` from the history of git.

    What the history does not have, as in a shallow clone or outside of git, is said on standard error, and the path
    that is returned does not exist.
    """
    commit, _, path = name.partition(":")
    if Path(name).exists() or not path:
        return Path(name)
    for suffix in (".safetensors", ".json"):
        source = f"{commit}:{Path(path).with_suffix(suffix).as_posix()}"
        command = ["git", "-C", str(repository), "show", "--end-of-options", source]
        try:
            got = subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            print(f"{name}: not in the history here, so nothing is compared with it", file=sys.stderr)
            return folder / "missing"
        (folder / f"before{suffix}").write_bytes(got.stdout)
    return folder / "before.safetensors"

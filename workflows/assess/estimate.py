"""What `overwatt estimate` does: one site from counts, a footprint, metered power or chips, and an HTML page of it.

In: a JSON file of a site's fields, fields that were typed, or both. Out: the object that `--json` prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.output import written
from overwatt.pipeline.compute import single_site
from overwatt.pipeline.report.figures import single_site as figure

_MAX_BYTES = 1_000_000


def run(
    site: Path | None, typed: Mapping[str, Any], *, days: int = 90, seed: int = 0, page: Path | None = None
) -> dict[str, Any]:
    """Return power and compute of one site; write a page with a plot where `page` is given.

    Args:
        site: JSON file of the site's fields, or None.
        typed: fields that replace those of the file.
        days: length of a training run.
        seed: of the draws.
        page: HTML file to write.

    Raises:
        ConfigError: a field cannot be used, or a file cannot be read.
        OutputError: the page cannot be written.
    """
    given = {} if site is None else single_site.fields(read_site(site))
    result = single_site.estimate_site(given | dict(typed), days=days, seed=seed)
    if page is not None:
        with written(page) as part:
            part.write_text(figure.page(result), encoding="utf-8")
    return result


def read_site(path: Path) -> dict[str, Any]:
    """Return the JSON object of a site's fields.

    Raises:
        ConfigError: the file is not there, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: more than {_MAX_BYTES:,} bytes; give the fields of one site")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise ConfigError(f'{path}: holds no JSON object; give one site\'s fields, such as {{"chillers": 121}}')
    return found

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


def lines(result: dict[str, Any]) -> list[str]:
    """Return the result as lines of plain text, for a terminal."""
    return [*figure.lines(result), *_kinds(result), *_statements(result)]


def _kinds(result: dict[str, Any]) -> list[str]:
    """The kinds of site and what the FLOP rest on, in one sentence."""
    if result["estimate_of"] == "declaration":
        return ["The estimate is that of the declared chips; nothing was observed that it could be compared with."]
    kinds = ", ".join(f"{k} {p:.0%}" for k, p in sorted(result["site_types"].items(), key=lambda x: -x[1]) if p >= 0.01)
    middle, most = result["flop"]["p50"], result["flop_if_ai"]["p50"]
    return [
        f"Kind of site: {kinds}. The median of FLOP rests on these weights: "
        f"{middle:.2g} as inferred, {most:.2g} if the site were built for AI."
    ]


def _statements(result: dict[str, Any]) -> list[str]:
    """What is declared beside what was observed, and their ratio."""
    declared, ratio = result["declared"], result["declared_over_estimated"]
    if not declared or not ratio:
        return []
    mw, h100e = declared["facility_mw"], declared["h100e"]
    return [
        f"Declared chips: {h100e['p50']:,.0f} H100 equivalents, {mw['p10']:,.0f} to {mw['p90']:,.0f} MW of facility "
        f"power (80%); declared over estimated: {ratio['p50']:.2g} (80%: {ratio['p10']:.2g} to {ratio['p90']:.2g})."
    ]


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

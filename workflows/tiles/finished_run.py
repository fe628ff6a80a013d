"""What a finished run says: its tables, its image, its settings. Only what is used is required, so older runs serve.

In: a run folder of `overwatt run`. Out: tables in WGS84, the path of the image, the manifest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.inspection.candidates import cell_outlines
from overwatt.workflows.config.yaml import MAX_BYTES as MAX_MANIFEST_BYTES
from overwatt.workflows.io.raster_checks import content_sha256


def run_table(run: Path, name: str, needed: tuple[str, ...]) -> gpd.GeoDataFrame:
    """Return a table of a run, geometry in WGS84.

    Raises:
        RegistryError: there is no such table, or it lacks one of the columns `needed`.
    """
    path = run / f"{name}.parquet"
    if not path.is_file():
        raise RegistryError(f"run folder {run}: no {name}.parquet in it; give a run folder of `overwatt run`")
    try:
        frame = gpd.read_parquet(path).to_crs(WGS84)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise RegistryError(f"{path}: not a table of {name} of `overwatt run`; run again") from error
    if missing := [c for c in needed if c not in frame]:
        raise RegistryError(f"{path}: no column '{missing[0]}'; not a table of {name} of `overwatt run`")
    return frame.reset_index(drop=True)


def cells_of(run: Path) -> dict[str, shapely.Geometry]:
    """Return the outlines of the cells of a run by entry_id; empty if it has none."""
    return cell_outlines(run_table(run, "looked_at", ("cell",))) if (run / "looked_at.parquet").is_file() else {}


def manifest_of(run: Path) -> dict[str, Any]:
    """Return the manifest of a run.

    Raises:
        RegistryError: it is missing, too large, or no JSON object.
    """
    path = run / "manifest.json"
    if not path.is_file() or path.stat().st_size > 100 * MAX_MANIFEST_BYTES:
        raise RegistryError(f"run folder {run}: no readable manifest.json in it; give a run folder of `overwatt run`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"run folder {run}: manifest.json is not JSON; run again") from error
    if not isinstance(manifest, dict):
        raise RegistryError(f"run folder {run}: manifest.json is no JSON object; run again")
    return manifest


def run_image(run: Path) -> Path:
    """Return the image file of a run, if it is unchanged since.

    Raises:
        RegistryError: the manifest does not name it.
        ConfigError: the imagery came from a catalogue, or the file is gone or has changed.
    """
    manifest = manifest_of(run)
    try:
        image, sha = manifest["parameters"]["imagery"]["path"], manifest["inputs"]["imagery"]
    except (KeyError, TypeError) as error:
        raise RegistryError(f"run folder {run}: manifest.json does not name its image; give the image") from error
    if not isinstance(image, str):
        raise ConfigError(f"run folder {run}: its imagery came from a catalogue; give image files of the same area")
    if not Path(image).is_file():
        raise ConfigError(f"run folder {run}: its image {image} no longer exists; give the image")
    if content_sha256(Path(image)) != sha:
        raise ConfigError(f"run folder {run}: its image {image} has changed since; run again, or give the original")
    return Path(image)

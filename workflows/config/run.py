"""The workflow file: one frozen model, a description on every field, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection.value_of_information import Stakes
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.vocabulary import RegistryFormat
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.config.yaml import apply_set, read_yaml, validate

_PATH_KEYS = ("path", "stack", "weights", "sites", "thermal_excess", "also")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagerySettings(_Frozen):
    """Optical imagery: a file, or a STAC API."""

    path: Path | None = Field(default=None, description="image file; takes precedence over stac")
    stac: StacSettings | None = Field(default=None, description="public catalogue to search where no path is given")
    date: str | None = Field(
        default=None, pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="day on which the image file was taken; without it no declared status is compared",
    )  # fmt: skip
    thermal_excess: Path | None = Field(
        default=None,
        description="GeoTIFF, float32 kelvin above the surroundings, pixels of at most 40 m; for thermal weights",
    )


class ThermalSettings(_Frozen):
    """A stack of surface-temperature looks."""

    stack: str | None = Field(default=None, description="file, or pattern such as dir/*_ST_B10.TIF, one file a look")
    unit: Literal["kelvin", "celsius"] = Field(default="kelvin", description="unit of the numbers in the files")
    ring_inner_m: float = Field(
        default=150, gt=0, description="inner radius of the background ring, from the site's edge"
    )
    ring_outer_m: float = Field(default=750, gt=0, description="outer radius of the background ring")


class DeclaredSettings(_Frozen):
    """The registry of declared facilities."""

    path: Path | None = Field(
        default=None, description="GeoJSON, GeoPackage, CSV, GeoParquet; or JSON of a known source"
    )
    format: RegistryFormat = Field(default="auto", description="layout of the file")
    also: tuple[Path, ...] = Field(
        default=(), description="further registries, layouts told by content; one facility in several is joined"
    )
    columns: dict[str, str] | None = Field(
        default=None, description="of a generic table: {our name: its column}, for example {it_mw: Leistung}"
    )
    position_error_m: float | None = Field(
        default=None, gt=0, description="1-sigma position error where the file states none"
    )


class DetectorSettings(_Frozen):
    """The detector."""

    weights: Path | None = Field(
        default=None, description="weights file with its card beside it; the shipped ones if absent"
    )
    profile: str | None = Field(
        default=None, description="sensor: naip, aerial_2m, sentinel2 or units; instead of weights"
    )
    building: float = Field(default=0.5, gt=0, lt=1, description="building probability a pixel needs")
    cooling: float = Field(default=0.5, gt=0, lt=1, description="cooling-equipment probability a pixel needs")
    interior: float = Field(default=0.5, gt=0, lt=1, description="interior probability a pixel needs")
    min_building_m2: float = Field(default=400.0, ge=0, description="smaller buildings are dropped, m2")
    min_cooling_m2: float = Field(default=30.0, ge=0, description="smaller cooling equipment is dropped, m2")
    min_interior_m2: float = Field(
        default=200.0, ge=0, description="smaller interiors do not make a building of their own, m2"
    )
    simplify_m: float = Field(default=1.0, ge=0, description="tolerance of the outlines, m")
    tile_px: int = Field(default=768, ge=1, description="side of a tile in pixels; does not change results")

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds of the step from probabilities to objects, by their names in `DetectSettings`."""
        names = (
            "building",
            "cooling",
            "interior",
            "min_building_m2",
            "min_cooling_m2",
            "min_interior_m2",
            "simplify_m",
        )
        return {name: getattr(self, name) for name in names}


class ReportSettings(_Frozen):
    """The report."""

    chips: int = Field(default=60, ge=0, description="image chips embedded, by rank")


class Workflow(_Frozen):
    """A region to run over."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="names the run folder")
    title: str = Field(default="", description="title of the report")
    area: Any = Field(
        default=None,
        description="[west, south, east, north], a GeoJSON object, or a file; the image's extent if absent",
    )
    imagery: ImagerySettings = ImagerySettings()
    sites: Path | None = Field(
        default=None, description="known sites to examine instead of detecting any (thermal only)"
    )
    thermal: ThermalSettings = ThermalSettings()
    declared: DeclaredSettings = DeclaredSettings()
    detector: DetectorSettings = DetectorSettings()
    reach_m: float = Field(default=60, gt=0, le=2000, description="buildings and equipment this near form one site")
    prior: float = Field(
        default=0.003, gt=0, lt=1, description="share of large roofs in the area that are data centers"
    )
    year: int = Field(
        default=2026,
        ge=2020,
        le=2035,
        description="year of the imagery's state of the art: chip mix, power density",
    )
    seed: int = Field(default=0, ge=0, description="of every random draw")
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    stakes: Stakes = Field(default_factory=Stakes)
    simulated: bool = Field(False, description="marks the whole report as simulated")
    attribution: tuple[str, ...] = Field(default=(), description="credits for imagery, shown in the report")
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _something_to_look_at(self) -> Workflow:
        if self.sites is None and self.imagery.path is None and self.imagery.stac is None:
            raise ValueError("imagery: give imagery.path or imagery.stac (or sites, for known sites)")
        if self.sites is not None and self.imagery.thermal_excess is not None:
            raise ValueError("imagery.thermal_excess: known sites are not detected; leave it or sites out")
        if self.sites is not None and self.thermal.stack is None:
            raise ValueError("sites: known sites are examined in a thermal stack; give thermal.stack")
        if self.imagery.path is None and self.imagery.stac is not None and self.area is None:
            raise ValueError("area: a catalogue needs an area to search")
        return self


def load(path: Path, assignments: list[str] | None = None, base: Path | None = None) -> Workflow:
    """Read a workflow file.

    Args:
        path: the file. Paths in it are relative to it.
        assignments: `key.sub=value` overrides. Paths in them are relative to `base`.
        base: the current folder by default.

    Raises:
        ConfigError: broken YAML, an unknown key (with the nearest known one), a wrong value.
    """
    data = _absolute(read_yaml(path), path.resolve().parent)
    overrides = _absolute(_as_tree(assignments or []), base or Path.cwd())
    return validate(_merge(data, overrides), Workflow, path.name)


def _as_tree(assignments: list[str]) -> dict[str, Any]:
    return apply_set({}, assignments)


def _merge(data: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(data)
    for key, value in over.items():
        below = out.get(key)
        if isinstance(value, dict) and below is not None and not isinstance(below, dict):
            raise ConfigError(f"--set {key}.…: '{key}' is not a group of settings in the file")
        out[key] = _merge(below or {}, value) if isinstance(value, dict) else value
    return out


def _absolute(node: Any, base: Path, key: str = "") -> Any:  # noqa: ANN401  # YAML is anything
    if isinstance(node, dict):
        return {k: v if key == "area" else _absolute(v, base, str(k)) for k, v in node.items()}
    area_file = key == "area" and isinstance(node, str)
    if isinstance(node, list) and key == "also":
        return [_absolute(v, base, key) for v in node]
    if isinstance(node, str) and (key in _PATH_KEYS or area_file):
        return str(base / node)
    return node

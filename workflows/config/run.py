"""The workflow file: one frozen model, a description on every field, unknown keys refused."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pycountry
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from overwatt.aoi.acquisition import FIRST_DAY, possible_day
from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.pipeline.inspection.settings import InspectionSettings, ListSettings, RankingSettings
from overwatt.pipeline.inspection.value_of_information import Stakes
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.vocabulary import RegistryFormat
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.config.yaml import Keys, Places, apply_set, expanded_path, place_of, read_yaml, validate

_OBJECTS = DetectSettings()  # its defaults are those of the settings below
_PATHS = (
    ("area",), ("sites",), ("imagery", "path"), ("imagery", "thermal_excess"), ("thermal", "stack"),
    ("declared", "path"), ("declared", "also"), ("detector", "weights"), ("buildings",), ("power_plant",),
    ("countries",),
)  # fmt: skip


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagerySettings(_Frozen):
    """Optical imagery: a file, or a STAC API."""

    path: Path | None = Field(default=None, description="image file; takes precedence over stac")
    stac: StacSettings | None = Field(default=None, description="public catalogue to search where no path is given")
    date: str | None = Field(
        default=None, pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="acquisition date of the image file; without it declared statuses are not compared",
    )  # fmt: skip
    thermal_excess: Path | None = Field(
        default=None,
        description="GeoTIFF of the surface temperature anomaly, float32 K, pixels up to 40 m; for thermal weights",
    )

    @field_validator("date", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        """The day of a date with a time; 20230601 is a date too."""
        text = value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, int) else value
        if not isinstance(text, str):
            return value
        text = re.sub(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", re.split(r"[T ]", text.strip())[0])
        # fromisoformat refuses a day that does not exist
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) and not possible_day(date.fromisoformat(text)):
            raise ValueError(f"no image is of that day: it is in the future, or before {FIRST_DAY}; correct it")
        return text


class ThermalSettings(_Frozen):
    """A stack of surface-temperature acquisitions."""

    stack: str | None = Field(
        default=None, description="file, or pattern such as dir/*_ST_B10.TIF, one file per acquisition"
    )
    unit: Literal["kelvin", "celsius", "landsat_dn"] = Field(
        default="kelvin",
        description="unit of values whose file states none; landsat_dn for Collection 2 integers as distributed",
    )
    ring_inner_m: float = Field(
        default=150, gt=0, description="inner distance of the background ring from the site's edge, m"
    )
    ring_outer_m: float = Field(default=750, gt=0, description="outer distance of the background ring, m")


class DeclaredSettings(_Frozen):
    """The registry of declared facilities."""

    path: Path | None = Field(
        default=None, description="GeoJSON, GeoPackage, CSV, GeoParquet; or JSON of a known source"
    )
    format: RegistryFormat = Field(default="auto", description="layout of the registry")
    also: tuple[Path, ...] = Field(
        default=(), description="further registries, with layout by content; the same facility in several is joined"
    )

    @field_validator("also", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        """A single registry without the list."""
        return (value,) if isinstance(value, str) else value

    columns: dict[str, str] | None = Field(
        default=None, description="column map of a generic table: {our name: column}, for example {it_mw: Leistung}"
    )
    layer: str | None = Field(default=None, description="only layer, in KML folder, of the registry; default all")
    partial: bool = Field(
        default=False, description="read a registry that says that it is not whole; the result then says so"
    )
    position_error_m: float | None = Field(
        default=None, gt=0, description="1-sigma position error of rows that state none, m"
    )


class DetectorSettings(_Frozen):
    """The detector."""

    weights: Path | None = Field(
        default=None, description="weights file with its card next to it; the bundled weights if absent"
    )
    profile: str | None = Field(
        default=None, description="sensor profile instead of weights: naip, aerial_2m, sentinel2 or units"
    )
    building: float = Field(
        default=_OBJECTS.building, gt=0, lt=1, description="minimum building probability of a pixel"
    )
    cooling: float = Field(
        default=_OBJECTS.cooling, gt=0, lt=1, description="minimum cooling-equipment probability of a pixel"
    )
    interior: float = Field(
        default=_OBJECTS.interior, gt=0, lt=1, description="minimum interior probability of a pixel"
    )
    min_building_m2: float = Field(default=_OBJECTS.min_building_m2, ge=0, description="minimum building footprint, m2")
    min_cooling_m2: float = Field(default=_OBJECTS.min_cooling_m2, ge=0, description="minimum cooling equipment, m2")
    min_machine_m2: float = Field(
        default=_OBJECTS.min_machine_m2, ge=0, description="the same where pixels are 0.6 m or finer, m2"
    )
    min_interior_m2: float = Field(
        default=_OBJECTS.min_interior_m2, ge=0, description="minimum interior that forms a separate building, m2"
    )
    simplify_m: float = Field(default=_OBJECTS.simplify_m, ge=0, description="simplification tolerance of outlines, m")
    tile_px: int | None = Field(
        default=None,
        ge=1,
        description="tile side in pixels, rounded down to whole cells of the network; does not change the results",
    )

    @property
    def thresholds(self) -> dict[str, float]:
        """Thresholds of the step from probabilities to objects, by their names in `DetectSettings`."""
        names = (
            "building",
            "cooling",
            "interior",
            "min_building_m2",
            "min_cooling_m2",
            "min_machine_m2",
            "min_interior_m2",
            "simplify_m",
        )
        return {name: getattr(self, name) for name in names}


class ReportSettings(_Frozen):
    """The report."""

    chips: int = Field(default=60, ge=0, description="number of image chips in the report, by rank")


class Workflow(_Frozen):
    """Settings of a run over an area of interest."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="name of the run folder")
    title: str = Field(default="", description="title of the report")
    area: Any = Field(
        default=None,
        description="[west, south, east, north], a GeoJSON object, or a file; the image's extent if absent",
    )
    imagery: ImagerySettings = ImagerySettings()
    sites: Path | None = Field(
        default=None, description="known sites to examine instead of running the detector (thermal only)"
    )
    thermal: ThermalSettings = ThermalSettings()
    declared: DeclaredSettings = DeclaredSettings()
    buildings: Path | None = Field(
        default=None,
        description="footprints of buildings with storeys or height (GeoJSON, GeoPackage, GeoParquet; columns of "
        "OpenStreetMap, Overture, GlobalML)",
    )
    power_plant: Path | None = Field(
        default=None, description="substations and generators, column power as in OpenStreetMap; not raw Overpass JSON"
    )
    country: str | None = Field(
        default=None, description="ISO 3166 alpha-2 code of the country of all sites, for example US"
    )
    countries: Path | None = Field(
        default=None, description="outlines of countries (column iso_a2 or country), for areas across a border"
    )
    detector: DetectorSettings = DetectorSettings()
    reach_m: float = Field(
        default=60, gt=0, le=2000, description="buildings and equipment within this distance form one site"
    )
    prior: float = Field(
        default=0.003, gt=0, lt=1, description="share of large roofs in the area that are data centers"
    )
    year: int = Field(
        default=2026,
        ge=2020,
        le=2035,
        description="year of imagery without a date: sets chip mix and power density",
    )
    seed: int = Field(default=0, ge=0, description="seed of all random draws")
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    stakes: Stakes = Field(default_factory=Stakes)
    listing: ListSettings = Field(default_factory=ListSettings)
    ranking: RankingSettings = Field(default_factory=RankingSettings)
    inspection: InspectionSettings = Field(default_factory=InspectionSettings)
    simulated: bool = Field(False, description="mark the report as simulated")
    attribution: tuple[str, ...] = Field(default=(), description="attribution of the imagery, shown in the report")
    report: ReportSettings = ReportSettings()

    @field_validator("area", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        """A box whose numbers are text."""
        if not isinstance(value, list) or not all(isinstance(v, str | int | float) for v in value):
            return value
        return [float(v) if isinstance(v, str) and _NUMBER.fullmatch(v.strip()) else v for v in value]

    @field_validator("country")
    @classmethod
    def _country(cls, value: str | None) -> str | None:
        code = None if value is None else value.strip().upper()
        if code is not None and pycountry.countries.get(alpha_2=code) is None:
            raise ValueError(f"'{value}' is no ISO 3166-1 alpha-2 code of a country, such as US or DE")
        return code

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
        path: the file. Paths in it are relative to it; `~`, `$NAME` and `${NAME}` in them are replaced.
        assignments: `key.sub=value` overrides. Paths in them are relative to `base`.
        base: the current folder by default.

    Raises:
        ConfigError: broken YAML, an unknown key (with the nearest known one), a wrong value, an unset variable.
    """
    places: Places = {}
    own: Places = {}
    data, overrides = read_yaml(path, places), apply_set({}, assignments or [], own)
    # what an override replaces is no longer written in the file
    places = {k: p for k, p in places.items() if not any(k[:n] in own for n in range(1, len(k) + 1))}
    data = _absolute(data, path.resolve().parent, (), places)
    overrides = _absolute(overrides, base or Path.cwd(), (), own)
    return validate(_merge(data, overrides), Workflow, path.name, {**places, **own})


def _merge(data: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(data)
    for key, value in over.items():
        below = out.get(key)
        if isinstance(value, dict) and below is not None and not isinstance(below, dict):
            raise ConfigError(f"--set {key}.…: '{key}' is not a group of settings in the file")
        out[key] = _merge(below or {}, value) if isinstance(value, dict) else value
    return out


def _absolute(node: Any, base: Path, keys: Keys, places: Places) -> Any:  # noqa: ANN401  # YAML is anything
    """Return settings with absolute paths; environment variables in paths are replaced, and in nothing else."""
    if keys in (("area",), ("declared", "columns")) and isinstance(node, dict):
        return node  # GeoJSON, names of columns
    if isinstance(node, dict):
        return {k: _absolute(v, base, (*keys, k), places) for k, v in node.items()}
    if isinstance(node, list) and keys == ("declared", "also"):
        return [_absolute(v, base, (*keys, k), places) for k, v in enumerate(node)]
    named = keys in places and (keys in _PATHS or keys[:2] == ("declared", "also"))
    if named and isinstance(node, int | float) and not isinstance(node, bool):
        node = places[keys].text  # a file called 2024
    if not (named and isinstance(node, str)):
        return node
    if os.path.exists(base / node):
        return str(base / node)
    return str(base / expanded_path(node, place_of(keys, places)))

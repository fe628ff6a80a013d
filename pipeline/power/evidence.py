"""Evidence on one site, and the check that refuses impossible values.

In: counts and sizes from an analyst or from the detector. Out: `SiteEvidence`, checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts

COOLING = ("air_chiller", "water", "direct_air", "liquid")
"""Kinds of cooling; they set the facility ratio, the PUE, and what it means that no equipment is seen."""

YEARS = (2015, 2035)
"""Years accepted for an estimate; own choice: around the tables of models/reference."""


@dataclass(frozen=True)
class SiteEvidence:
    """What was seen, counted or declared at one site. A field without a value: not known.

    Attributes:
        site_id: stable name; also names the stream of random draws.
        building_area_m2: footprint; 0 if not known.
        cooling_area_m2: area of the outlines of cooling equipment, gaps between units included.
        chillers: air-cooled chillers counted; None or 0 means "none counted", not "none there".
        cooling_tower_cells: cooling-tower cells counted; None or 0 as for `chillers`.
        gsd_m: ground sampling distance of the image in which the outlines were drawn, m; None is taken as 2 m.
        storeys: mean number of storeys; None: covered by the spread of the prior.
        on_border: part of the site lies outside the imagery; areas and counts are lower bounds.
        chiller_fans, chiller_area_m2: fans and plan area of ONE chiller.
        tower_fan_diameter_m, tower_cell_area_m2, tower_height_m: of ONE cell.
        dry_coolers: dry coolers or fan walls counted.
        generators: counted; generator_mw: nameplate of one.
        substation_mva: total capacity of the site's transformers: a cap.
        turbines_mw: generation on a site without grid connection: a cap.
        buildings: finished data-center buildings.
        operator: name of the company that runs the site.
        cooling: one of `COOLING`.
        building_class: a class of models/reference/area_priors.csv.
        year: of the image of this site; None: the year of the estimate.
        country: ISO 3166 alpha-2 code.
        height_m: mean height of the buildings; not used if `storeys` is given.
        count_recall: (a, b) of a Beta distribution of the share of the equipment that the count or the outlines show,
            from the detector's card; None: an analyst's count on a sharp image.
        site_type: kind of site stated by an analyst; the compute estimate reads it.
    """

    site_id: str
    building_area_m2: float = 0.0
    cooling_area_m2: float = 0.0
    chillers: int | None = None
    cooling_tower_cells: int | None = None
    gsd_m: float | None = None
    storeys: float | None = None
    on_border: bool = False
    chiller_fans: int | None = None
    chiller_area_m2: float | None = None
    tower_fan_diameter_m: float | None = None
    tower_cell_area_m2: float | None = None
    tower_height_m: float | None = None
    dry_coolers: int | None = None
    generators: int | None = None
    generator_mw: float | None = None
    substation_mva: float | None = None
    turbines_mw: float | None = None
    buildings: int | None = None
    operator: str | None = None
    cooling: str | None = None
    building_class: str | None = None
    year: int | None = None
    country: str | None = None
    height_m: float | None = None
    count_recall: tuple[float, float] | None = None
    site_type: str | None = None


_COUNTS = ("chillers", "cooling_tower_cells", "chiller_fans", "dry_coolers", "generators", "buildings")
_MAY_BE_ZERO = ("building_area_m2", "cooling_area_m2")


def check(site: SiteEvidence) -> None:
    """Refuse impossible values.

    Raises:
        ConfigError: names the field, the value and what to give.
    """
    where = f"site '{site.site_id}'"
    if not site.site_id:
        raise ConfigError("site_id: '' is empty; give each site a name")
    for name in _NUMBERS:
        value = getattr(site, name)
        if value is None:
            continue
        if name in _COUNTS:  # whole numbers, also if given as floats
            if not (math.isfinite(value) and value >= 0 and value == int(value)):
                raise ConfigError(f"{where}: {name} {value} is not possible; give a whole number, 0 or more")
        elif not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            need = "a finite number, 0 or more" if name in _MAY_BE_ZERO else "a finite number above 0"
            raise ConfigError(f"{where}: {name} {value} is not possible; give {need}")
    # own choices, far above anything built: they catch wrong units and fields
    if site.storeys is not None and site.storeys > 50:
        raise ConfigError(f"{where}: storeys {site.storeys:g} is not possible; give storeys, not metres")
    if site.generator_mw is not None and site.generator_mw > 100:
        raise ConfigError(f"{where}: generator_mw {site.generator_mw:g} is not possible; give MW of one generator")
    if site.buildings is not None and site.buildings > 500:
        raise ConfigError(f"{where}: buildings {site.buildings} is not possible; give the buildings of one site")
    if site.cooling is not None and site.cooling not in COOLING:
        raise ConfigError(f"{where}: cooling '{site.cooling}' is not known; {nearest(site.cooling, COOLING)}")
    if site.year is not None and not YEARS[0] <= site.year <= YEARS[1]:
        raise ConfigError(f"{where}: year {site.year} is outside {YEARS[0]}-{YEARS[1]}; give the year of the imagery")
    if site.height_m is not None and site.height_m > 150:
        raise ConfigError(f"{where}: height_m {site.height_m:g} is not possible; give the height of a hall in metres")
    if site.count_recall is not None and not all(math.isfinite(v) and v > 0 for v in site.count_recall):
        raise ConfigError(f"{where}: count_recall {site.count_recall} is not possible; give a and b of a Beta, above 0")
    classes = facts.area_priors()
    if site.building_class is not None and site.building_class not in classes:
        known = nearest(site.building_class, classes)
        raise ConfigError(f"{where}: building_class '{site.building_class}' is not known; {known}")


def mw_words(mw: float) -> str:
    """Return megawatts as text: whole from 10 MW on, two figures below."""
    return f"{mw:,.0f} MW" if mw >= 10 else f"{mw:.2g} MW"


_NO_NUMBERS = ("site_id", "on_border", "operator", "cooling", "building_class", "year", "country", "count_recall",
               "site_type")  # fmt: skip
_NUMBERS = tuple(f.name for f in fields(SiteEvidence) if f.name not in _NO_NUMBERS)

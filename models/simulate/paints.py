"""The paints that every builder uses, drawn once a scene so that one scene's asphalt is one asphalt (`palette`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paints:
    """Paint numbers of one scene; arrays where shapes vary."""

    grass: int
    dry: int
    field: np.ndarray
    soil: np.ndarray
    asphalt: np.ndarray
    road: int
    mark: int
    concrete: int
    gravel: int
    water: int
    tree: np.ndarray
    car: np.ndarray
    trailer: np.ndarray
    roof_light: np.ndarray
    roof_mid: np.ndarray
    roof_dark: np.ndarray
    edge: int
    skylight: np.ndarray
    vent: int
    pv: np.ndarray
    unit: np.ndarray
    fan: np.ndarray
    rtu: np.ndarray
    genset: np.ndarray
    house: np.ndarray
    container: np.ndarray

"""Small areas that run offline. `DEMO` is simulated: optical.tif, lst.tif, registry.geojson, truth.geojson."""

from pathlib import Path

DEMO = Path(__file__).resolve().parent / "demo"

"""Power and compute against reality: `python -m benchmarks.power --json`."""

"""Power and compute compared with reported values: `python -m benchmarks.power --json`."""

"""The inspection plan against evaders: `python -m benchmarks.inspection --json`."""

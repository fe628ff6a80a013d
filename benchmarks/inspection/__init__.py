"""The inspection plan against evading operators: `python -m benchmarks.inspection --json`."""

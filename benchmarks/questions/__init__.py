"""Questions asked about facilities that two true registries both have: `python -m benchmarks.questions --json`."""

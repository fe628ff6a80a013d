"""The detector on other places, sensors and scales than in training: `python -m benchmarks.elsewhere`."""

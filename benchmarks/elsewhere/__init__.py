"""The detector on places, sensors and scales that it was not trained on: `python -m benchmarks.elsewhere`."""

"""The detector compared with a U-Net with ResNet-18 encoder: `python -m benchmarks.detector_speed --json`."""

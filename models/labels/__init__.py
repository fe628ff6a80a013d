"""Package data: hand-drawn outlines for training and evaluation (GeoJSON)."""

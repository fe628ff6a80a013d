"""Streaming inference: time and memory, against what other libraries do with the same network and raster."""

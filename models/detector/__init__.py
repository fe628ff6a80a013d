"""The detector: weights with their card, the network, inference on a CPU or GPU, calibration.

In: windows of pixels and the `ModelCard` of a set of weights. Out: class probabilities as integers 0..255. `card`,
`calibration` and `sensors` work without torch; the other modules need it. Read `inference.predict` first.
"""

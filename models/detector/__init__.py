"""The detector: weights with their card, the network, inference on a CPU or GPU, calibration.

In: windows of pixels and the `ModelCard` of a set of weights. Out: class probabilities as integers. `card`,
`calibration` and `sensors` need no torch; `network`, `weights` and `inference` do. Read `inference.predict` first.
"""

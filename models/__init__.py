"""The CNN: network, training, evaluation, simulator, weights and reference tables."""

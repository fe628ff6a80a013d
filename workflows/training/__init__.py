"""Training from a training file: samples, stages, cross-validation, evaluation, calibration.

Read `train.run` first.
"""

"""Training from a file: data, rounds, cross-validation, evaluation, calibration. Read `train.run` first."""

"""Evaluation of the detector: scores of one set of weights, and the comparison of two.

In: predicted and labelled outlines in one pixel frame, and the mask of imaged pixels. Out: dictionaries with IoU,
Dice, precision, recall and object F1 per class, each with a 95% bootstrap interval over blocks of ground, and into how
many pieces buildings are split.
Read first: `metrics.score` (one picture) or `metrics.score_all` (several, pooled). Both sum the counts per block of
`confusion_counts.block_counts`; `paired_bootstrap.compare` resamples the same counts for two sets of weights.
"""

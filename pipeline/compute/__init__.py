"""From power to compute: H100 equivalents, training FLOP, thresholds, dates.

In: power draws or table `sites`. Out: columns `h100e_*` and `flop_90d_*`, one site's whole estimate, comparison of
FLOP thresholds with real models. Read `training_compute.estimate` first; `single_site.estimate_site` for one site.
"""

"""Commands that work on finished tables: reconcile, inspect, compare, estimate, thresholds.

In: files and options. Out: tables, plots, and the object that `--json` prints. Read `reconcile.run` first.
"""

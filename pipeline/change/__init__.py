"""Changes between two runs of an area.

In: tables `sites` and `looked_at` of both. Out: one row per site with its class of change. Read
`run_comparison.compare_runs`.
"""

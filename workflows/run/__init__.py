"""`overwatt run`: from a workflow file to a run folder.

In: a `Workflow`. Out: tables, the probability raster, the report, `manifest.json`. Read `runner.run` first, then
`inputs`, `tiling`, `analysis`, `results` in this order; `cluster` runs tiles on Dask.
"""

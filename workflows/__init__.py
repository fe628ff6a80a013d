"""How it is run: workflow files, Dask runner, run folder, command line."""

"""How it is run: settings, files, Dask, training, command line; everything with side effects.

config → io → tiles, run, assess → export, training → national → cli. `run.runner.run` is the main job,
`cli.main` the command line.
"""

"""Settings: workflow files, training files, YAML, `--set`.

In: a YAML file and overrides. Out: frozen settings, or an error that names the field. Read `run.load` first.
"""

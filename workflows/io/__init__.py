"""Files and catalogues: images, registries, temperature stacks, STAC, run folders.

In: paths and addresses, none of them trusted. Out: arrays, tables, and error messages of one line. Read
`images.open_image`, `registries.read_all` and `run_folder` first.
"""

"""Files and catalogues: images, registries, temperature stacks, STAC, run folders.

In: paths and addresses, all untrusted. Out: arrays, tables, and errors of one line. Read `images.open_image`,
`registries.read_all` and `run_folder` first.
"""

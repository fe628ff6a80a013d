"""A national training set: from registries, building footprints and a STAC catalogue to tiles split by county.

In: a settings file such as examples/national.yaml. Out: a folder of tiles with an index. Read `build.build` first.
"""

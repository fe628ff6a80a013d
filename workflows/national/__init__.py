"""A training set for a country: from registries, footprints and a catalogue to tiles split by county.

In: a settings file such as examples/national.yaml. Out: a folder of tiles with an index. Read `build.build` first.
"""

"""From class probabilities to footprints of buildings and cooling equipment.

In: class probabilities of tiles, integers 0..255. Out: table `footprints`. Read `vectorization.vectorize_tile` and
`footprints.finish` first (one tile), then `footprints.merge_footprints` (all tiles).
"""

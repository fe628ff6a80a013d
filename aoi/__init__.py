"""Where to look: areas of interest, grids and tiles, and the geodesy shared by all packages.

In: bounding boxes, GeoJSON, files; out: `Area`, `GeoBox`, tiles, distances. Read `area.area_from_setting` first, then
`grid.tiles`. `geodesy` holds distances and frames, `errors` the exceptions that reach a user as one line.
"""

"""Where to look: areas, grids and tiles."""

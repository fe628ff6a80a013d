"""Limits of received tables and of caches; beyond them reading takes the memory or time of an attack."""

from __future__ import annotations

MAX_ROWS = 5_000_000
"""The largest list of power plants or permits has under a million rows; own choice."""
MAX_COLUMNS = 10_000
"""Own choice; a column costs a pass over its cells."""
MAX_UNPACKED = 4_000_000_000
"""Bytes that the cells of a compressed file may take in memory; own choice."""
MAX_PASSES = 1_000_000_000
"""Bytes of a KML file times its folders: each folder is a pass over the file, 30 MB take 1 s; own choice."""
CACHE_BYTES = 64_000_000
"""Decoded raster blocks that GDAL keeps, which neighbouring windows share; own choice. Its default is a twentieth of
the machine's memory."""

"""File formats by their first bytes, checked before any driver opens a file.

In: a path. Out: the GDAL driver that may read it, or whether it is a plain vector file. GDAL and OGR
choose a driver by content, and some formats (above all VRT) refer to other files and hosts, which
would then be read. A received file is therefore opened only as the format of its signature.
"""

from __future__ import annotations

from pathlib import Path

RASTERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
}
"""Raster signatures and the GDAL driver that may read each."""

_HEAD = 4096  # bytes; long enough for the <kml> element after an XML declaration and comments


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def raster_driver(path: Path) -> str | None:
    """Return the driver that may read a raster file, None if its format is not supported."""
    head = head_of(path)
    return next((driver for signature, driver in RASTERS.items() if head.startswith(signature)), None)


def is_plain_vector(path: Path) -> bool:
    """Whether a file is GeoJSON, GeoPackage, KML or GeoParquet by its first bytes."""
    head = head_of(path)
    if head.startswith((b"SQLite format 3\0", b"PAR1")):
        return True
    # SQLite is GeoPackage, PAR1 is Parquet; text may start with a byte order mark
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return True
    return text.startswith(b"<") and b"<kml" in head and b"VRT" not in head

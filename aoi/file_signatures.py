"""What a file is by its first bytes, before any driver opens it.

GDAL and OGR choose a driver by content, and some formats (VRT above all) name other files and
hosts to read from. A received file may be no more than what it says it is.
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

_HEAD = 4096


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def raster_driver(path: Path) -> str | None:
    """Return the driver that may read a raster file, None if it is none of ours."""
    head = head_of(path)
    return next((driver for signature, driver in RASTERS.items() if head.startswith(signature)), None)


def is_plain_vector(path: Path) -> bool:
    """Whether a file is GeoJSON, GeoPackage, KML or GeoParquet by its first bytes."""
    head = head_of(path)
    if head.startswith((b"SQLite format 3\0", b"PAR1")):
        return True
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return True
    return text.startswith(b"<") and b"<kml" in head and b"VRT" not in head

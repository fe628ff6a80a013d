"""How deep a geometry is nested, told before it is parsed: the parsers recurse, and very deep ones end the process.

In: a cell as text (WKT, GeoJSON, hexadecimal WKB) or bytes (WKB). Out: whether it is nested deeper than any real place.
"""

from __future__ import annotations

import re
import struct

import numpy as np

MAX_DEPTH = 50
"""A collection of multi-polygons has a depth of 5 brackets; own choice."""

_HEX = re.compile(r"\s*0[01](?:[0-9A-Fa-f]{2})+\s*")
_HEADER = re.compile(rb"\x01[\x04-\x07\xbc-\xbf\xd4-\xd7\xec-\xef][\x00\x03\x07\x0b]\x00"
                     rb"|\x00[\x03\x07\x0b\x00][\x04-\x07\xbc-\xbf\xd4-\xd7\xec-\xef]")  # fmt: skip
"""Bytes with which a part of several parts begins, little- or big-endian; ordinary coordinates may hold them too."""


def too_deep(cell: str | bytes) -> bool:
    """Whether a geometry is nested deeper than `MAX_DEPTH`; false for text or bytes that are no geometry."""
    if isinstance(cell, str) and len(cell) > 2 * MAX_DEPTH and _HEX.fullmatch(cell):
        cell = bytes.fromhex(cell)
    if isinstance(cell, bytes):
        return len(_HEADER.findall(cell)) > MAX_DEPTH and _wkb_depth(cell) > MAX_DEPTH
    if sum(map(cell.count, "([{")) <= MAX_DEPTH:
        return False
    codes = np.frombuffer(cell.encode("utf-8", "replace"), np.uint8)
    steps = np.isin(codes, list(b"([{")).astype(int) - np.isin(codes, list(b")]}"))
    return bool(np.cumsum(steps).max() > MAX_DEPTH)


def _wkb_depth(wkb: bytes) -> int:
    """Return the depth of WKB or EWKB as far as its bytes can be followed, at most one more than `MAX_DEPTH`."""
    left, at, deepest = [1], 0, 0  # geometries still to come at each level
    try:
        while left and deepest <= MAX_DEPTH:
            if not left[-1]:
                left.pop()
                continue
            left[-1] -= 1
            number = struct.Struct("<I" if wkb[at] == 1 else ">I")
            (kind,) = number.unpack_from(wkb, at + 1)
            at += 9 if kind & 0x20000000 else 5  # with its SRID
            # Z and M as flags (EWKB) or as thousands (ISO)
            axes = 2 + (kind >> 31) + (kind >> 30 & 1) + (0, 1, 1, 2)[(kind & 0xFFFF) // 1000 % 4]
            kind = (kind & 0xFFFF) % 1000
            if kind == 1:
                at += 8 * axes
                continue
            (count,) = number.unpack_from(wkb, at)
            at += 4
            if kind == 2:
                at += 8 * axes * count
            elif kind == 3:
                for _ in range(count):
                    at += 4 + 8 * axes * number.unpack_from(wkb, at)[0]
            else:
                left.append(count)
                deepest = max(deepest, len(left) - 1)
    except (struct.error, IndexError):
        pass  # cut short, which the parser says
    return deepest

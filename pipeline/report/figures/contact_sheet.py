"""Contact sheet: small pictures of places side by side, each with its caption.

In: pictures as bytes, in order, with captions. Out: one PNG. The same pictures give the same bytes.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 4, 6
CHIP_PX = 320
"""Side of one picture on the sheet, pixels."""
_GAP_PX, _LINE_PX, _LINES = 12, 18, 4
_LETTERS = 46  # of a line of the caption: fits the width of a picture at the size of the font
_PAPER_RGB, _INK_RGB = (255, 255, 255), (22, 24, 28)


def contact_sheet(pictures: Sequence[bytes], captions: Sequence[str]) -> bytes:
    """Return a PNG of at most `COLUMNS` times `ROWS` pictures, row by row.

    Args:
        pictures: images in any format that Pillow reads, made by `rasters.chip`.
        captions: one per picture; long ones end with "…".

    Raises:
        ValueError: more pictures than fit on a sheet, or another number of captions.
    """
    if len(pictures) > COLUMNS * ROWS:
        raise ValueError(f"{len(pictures)} pictures; a sheet has room for {COLUMNS * ROWS}")
    columns = min(COLUMNS, max(1, len(pictures)))
    rows = -(-len(pictures) // columns)
    width, height = CHIP_PX + _GAP_PX, CHIP_PX + _LINES * _LINE_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _GAP_PX), _PAPER_RGB)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = _GAP_PX + number % columns * width, _GAP_PX + number // columns * height
        with Image.open(io.BytesIO(picture)) as chip:
            sheet.paste(chip.convert("RGB").resize((CHIP_PX, CHIP_PX)), (x, y))
        text = textwrap.wrap(caption, _LETTERS, max_lines=_LINES, placeholder=" …")
        for line, words in enumerate(text):
            draw.text((x, y + CHIP_PX + 3 + line * _LINE_PX), words, _INK_RGB, font)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()

"""Small pictures for pages and terminals."""

from __future__ import annotations

import io
from typing import Any

from diptych.data.images import decode_image


def thumbnail(value: Any, *, side: int = 160) -> bytes:
    """A table's image as a PNG (where it is tiny) or JPEG of at most `side` pixels.

    Raises:
        diptych.data.images.BadImage: if it cannot be decoded.
    """
    picture = decode_image(value, draft=(side, side))
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if side < 64 or picture.width < 64 else "JPEG", quality=85)
    return buffer.getvalue()

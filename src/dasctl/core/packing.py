"""How a piece of a content is packed: once, for the object and for the line."""

from __future__ import annotations

import zlib

from dasctl.core.exchange import Piece

LEVEL = 1  # of zlib
WORTH = 0.95  # a piece that zlib leaves larger than this share stays as it is


def packed(raw: bytes) -> Piece:
    """The piece of `raw`, packed where that is worth it."""
    data = zlib.compress(raw, LEVEL)
    if len(data) < len(raw) * WORTH:
        return Piece(raw=len(raw), data=data, packed=True)
    return Piece(raw=len(raw), data=raw, packed=False)

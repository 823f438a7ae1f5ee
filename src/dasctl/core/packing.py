"""How contents and deltas are packed: once, for the objects and for the line."""

from __future__ import annotations

import zlib

from dasctl.core.exchange import Piece

LEVEL = 1  # of zlib
DELTA_LEVEL = 6  # made once, sent to many
WORTH = 0.95  # a piece that zlib leaves larger than this share stays as it is


def packed(raw: bytes) -> Piece:
    """The piece of `raw`, packed where that is worth it."""
    data = zlib.compress(raw, LEVEL)
    if len(data) < len(raw) * WORTH:
        return Piece(raw=len(raw), data=data, packed=True)
    return Piece(raw=len(raw), data=raw, packed=False)


def unpacked(piece: Piece) -> bytes:
    """The bytes of the content that `piece` holds. Raises zlib.error."""
    return zlib.decompress(piece.data) if piece.packed else piece.data


def packed_delta(instructions: bytes) -> bytes:
    """A delta as it travels."""
    return zlib.compress(instructions, DELTA_LEVEL)

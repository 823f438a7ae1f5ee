"""How contents and deltas are packed: once, for the objects and for the line.

What lives here: the compressor. What must not: which bytes are worth a try (`adapters/object_form.py`).

    Contents are packed by ISA-L where it is installed (python-isal): at a quarter of zlib's processor time, into a little
    less. What it makes is a zlib stream like any other: nodes, and whoever reads an object by hand, unpack it with zlib.
"""

from __future__ import annotations

import zlib

from dasctl.core.exchange import Piece

try:
    from isal.isal_zlib import compress as _compress

    DELTA_LEVEL = 1  # 2 % more than zlib's 6 makes of a delta, in a ninth of the time
except ImportError:  # no wheel for this machine
    from zlib import compress as _compress

    DELTA_LEVEL = 6  # made once, sent to many

LEVEL = 1  # of either: on a web application's files zlib's 2 and 3 took 1.2 and 1.6 times as long, and saved 2 and 4 %
WORTH = 0.95  # a piece that is larger than this share when it is packed stays as it is


def packed(raw: bytes) -> Piece:
    """The piece of `raw`, packed where that is worth it."""
    data = _compress(raw, LEVEL)
    if len(data) < len(raw) * WORTH:
        return Piece(raw=len(raw), data=data, packed=True)
    return as_it_is(raw)


def as_it_is(raw: bytes) -> Piece:
    """The piece of `raw`, not packed."""
    return Piece(raw=len(raw), data=raw, packed=False)


def unpacked(piece: Piece) -> bytes:
    """The bytes of the content that `piece` holds. Raises zlib.error."""
    return zlib.decompress(piece.data) if piece.packed else piece.data


def packed_delta(instructions: bytes) -> bytes:
    """A delta as it travels."""
    return _compress(instructions, DELTA_LEVEL)

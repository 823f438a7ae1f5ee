"""Whether packed contents are worth it on the way to a node: that is, what the bytes save there.

What lives here: the rule. What must not: measuring a line, asking a node.

    Packing is paid for once, by the DAS, for its objects; unpacking by every node, at 250 to 300 MB/s of text. Any network
    that many servers hang on is slower than that for each of them, so what is saved there is time. Not so where the node is
    this very machine: the line is memory, and whoever unpacks has the processors that everybody waits for. Eight nodes of
    one machine got 165 MB in a fifth less processor time with contents as they are, though a third more bytes travelled.

    Nothing is guessed from how quickly a node takes what it is sent: a slow line and a busy node look alike from here, and
    what is right for one is wrong for the other. So the way does not change while contents travel, and totals stay true.
"""

from __future__ import annotations

from dataclasses import dataclass

WORTH = 8 << 20  # bytes of contents: below, either way is as good, and nothing need be asked
LONG_S = 0.02  # a round trip from which on a line counts as long: less is also what a busy machine takes for its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The boot ids of the kernels that the DAS and the node run on ("" or anything else: not known)."""

    das: str
    node: object

    @property
    def one_machine(self) -> bool:
        """Whether both run on the same kernel: containers of one machine do, virtual machines do not."""
        return bool(self.das) and self.node == self.das


def may_go_as_they_are(ends: Ends, size: int) -> bool:
    """Whether `size` bytes of contents may travel as they are, if the line is short."""
    return size >= WORTH and ends.one_machine


def is_short(round_trip_s: float | None) -> bool:
    """Whether a line is a short one. None: it could not be measured, and is taken for one.

    Between two ends on one machine there may be a long one all the same: a relay, something that delays.
    """
    return round_trip_s is None or round_trip_s < LONG_S

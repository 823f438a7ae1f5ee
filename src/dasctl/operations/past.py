"""A revision as it was: its entries, the text of its domain.yaml, its contents.

What lives here: reading what is kept of a revision, and saying so where it is kept no more. What must not: what two of them
differ in (`core/changes.py`), bringing one back (`restoring.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dasctl.core import areas
from dasctl.core.changes import root_of
from dasctl.core.stamps import Revision
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Context
from dasctl.remote.manifest import Entry, decode

MOST_LOOKED_AT = 10_000  # revisions, from the last one, in which a number is looked for


@dataclass(frozen=True, kw_only=True)
class Past:
    """A revision that is kept. `parts` maps digests to canonical bytes. `domain_text` is that of `config/domain.yaml`;
    None: it was recorded by an earlier release, which did not keep it.
    """

    revision: Revision
    parts: Mapping[str, bytes]
    domain_text: bytes | None

    @cached_property
    def entries(self) -> Mapping[bytes, Entry]:
        """What every path was, `config/domain.yaml` included where it is kept."""
        return {entry.path: entry for data in self.parts.values() for entry in decode(data)}

    def text(self) -> bytes:
        """The text of domain.yaml. Raises OperationFailed where it is not kept."""
        if self.domain_text is None:
            raise OperationFailed(
                f"revision {self.revision.number} was recorded by an earlier release of dasctl, which did not keep the text "
                "of config/domain.yaml: it can be compared, and not brought back",
                hint="`dasctl history --long` lists which revisions can be brought back",
            )
        return self.domain_text


def past(ctx: Context, number: int) -> Past:
    """The revision with this number. Raises OperationFailed, naming it, where it never was or is kept no more."""
    revision = revision_of(ctx, number)
    parts = ctx.history.parts_of(number)
    if parts is None:
        raise OperationFailed(
            f"what revision {number} was is not kept any more: {_kept_told(ctx)}",
            hint="`revisions:` under `domain:` in config/domain.yaml says how many are kept from now on",
        )
    return Past(revision=revision, parts=parts, domain_text=_domain_text(ctx, parts))


def revision_of(ctx: Context, number: int) -> Revision:
    """The revision with this number, kept or not. Raises OperationFailed where there is none."""
    known = ctx.history.revisions(limit=MOST_LOOKED_AT)
    found = next((revision for revision in known if revision.number == number), None)
    if found is None:
        last = f"the last one is {known[0].number}" if known else "nothing has been recorded yet"
        raise OperationFailed(
            f"there is no revision {number}: {last}", hint="`dasctl history` lists the revisions"
        )
    return found


def kept(ctx: Context) -> list[int]:
    """The numbers of the revisions that are kept, the last one first."""
    found: list[int] = []
    for revision in ctx.history.revisions(limit=MOST_LOOKED_AT):
        if not ctx.history.parts(revision.number):
            break
        found.append(revision.number)
    return found


def restorable(ctx: Context) -> list[int]:
    """Those of them that can be brought back: whose domain.yaml is kept as well. Reads all kept parts once."""
    is_domain: dict[str, bool] = {}
    found: list[int] = []
    for number in kept(ctx):
        digests = ctx.history.parts(number)
        for digest in digests:
            if digest not in is_domain:
                is_domain[digest] = root_of(ctx.history.part(digest) or b"\0") == areas.DEFINITION
        if any(is_domain[digest] for digest in digests):
            found.append(number)
    return found


def _kept_told(ctx: Context) -> str:
    numbers = kept(ctx)[::-1]
    if not numbers:
        return "no revision is"
    if len(numbers) == 1:
        return f"revision {numbers[0]} alone is"
    runs = [[numbers[0], numbers[0]]]
    for number in numbers[1:]:
        if number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    told = [str(first) if first == last else f"{first} to {last}" for first, last in runs]
    return f"revisions {', '.join(told)} are"


def _domain_text(ctx: Context, parts: Mapping[str, bytes]) -> bytes | None:
    data = next((data for data in parts.values() if root_of(data) == areas.DEFINITION), None)
    if data is None:
        return None
    (entry,) = decode(data)
    return b"".join(content(ctx, entry.digest.decode("ascii")))


def content(ctx: Context, digest: str) -> Iterable[bytes]:
    """The content of a kept revision with this SHA-256 (hex), in pieces. Raises ObjectLost, at the latest when iterated."""
    return _unpacked(ctx, digest)


def _unpacked(ctx: Context, digest: str) -> Iterator[bytes]:
    for piece in ctx.objects.pieces(digest):
        yield zlib.decompress(piece.data) if piece.packed else piece.data

"""What a dry run tells of contents: which would have to be sent, and where the node has the others already.

What lives here: looking, without writing anything. What must not: staging (`sharing.py`).
"""

from __future__ import annotations

from dasctl.remote import sharing, staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.work import Work


def foresee(works: list[Work], work: Work, node: str, domain: str) -> list[Any]:
    """The contents that would have to be sent for `work`, as in the verdict `needs`; fills `work.origins`."""
    wanted = {digest: size for digest, size in work.sizes.items() if digest != sharing.EMPTY}
    others = [other for other in works if other is not work]
    neighbours = sharing.Neighbours(node, domain, [other.name for other in works])
    try:
        found = sharing.sources([work, *others], wanted, neighbours)
        work.origins = {digest: found[digest][0].told(work.name) for digest in wanted if digest in found}
    finally:
        neighbours.close()
    return [_lacking(work, digest, size) for digest, size in wanted.items() if digest not in found]


def _lacking(work: Work, digest: bytes, size: int) -> Any:
    have = 0 if work.place is None else staging.begun(work.place, digest, size)
    return [digest.decode(), have] if have else digest.decode()

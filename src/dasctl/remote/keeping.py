"""Files that are ours to create and the node's to change afterwards, and the creation failed.

What lives here: what the manifest remembers of them. What must not: which paths are meant (`work.py`), what follows for a
path (`compare.py`).
"""

from __future__ import annotations

from dasctl.remote import paths, state, words
from dasctl.remote.compare import folders_above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dasctl.remote.compare import Plan

    Condition = Callable[[bytes], bool]


def remember_unmade(
    place: state.Place, plan: Plan, keep: Condition | None, problems: Iterable[bytes]
) -> None:
    """A commit that could not make one of these files has not made it: the next one shall, though it is in the manifest."""
    if keep is None:
        return
    failed = set(problems)
    coming = [*plan.mkdir, *(entry.path for entry in plan.place)]
    unmade = [path for path in coming if keep(path) and not failed.isdisjoint((path, *folders_above(path)))]
    if not unmade:
        return
    kept = state.load(place)
    for path in unmade:
        kept.exceptions[paths.printable(path)] = {"kind": words.EXTRA, "entry": None}
    listing = [(name, digest, kept.parts[name]) for name, digest in kept.listing]
    place.disk.write(state.MANIFEST, state.manifest_bytes(listing, kept.exceptions))

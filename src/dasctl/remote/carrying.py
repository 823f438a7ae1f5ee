"""`stage`: what a further channel of a connection carries while the first one waits for contents.

What lives here: whose staging the announced contents go to. What must not: the frames (`receive.py`), the files
(`beside.py`, `staging.py`), and the lock: the helper at the first channel holds it. Where nobody waits, what is staged
is what a synchronisation that broke off might have left: the next one uses it or clears it away.
"""

from __future__ import annotations

from dasctl.remote import messages, receive, staging, state, words
from dasctl.remote.beside import Beside
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.wire import Link

    Header = dict[str, Any]


def stage(link: Link, header: Header) -> Header:
    """Answer a `stage`: reads the frames behind it, up to the end."""
    common = messages.common(header)
    name, announced = messages.staged(header)
    place = state.open_place(state.node_path(common["dir"]), name, create=False)
    if place is None:
        receive.contents(link, [])
        return _told([])
    try:
        _check_domain(place, common["domain"])
        there = [digest for digest, size in announced.items() if staging.has(place, digest, size, mend=False)]
        store = Beside(place, {digest: announced[digest] for digest in announced.keys() - set(there)})
        receive.contents(link, [store])
        return _told([*there, *store.staged])
    finally:
        place.close()


def _check_domain(place: state.Place, domain: str) -> None:
    at = state.load(place, with_parts=False).at
    if at is not None and at["domain"] != domain:
        raise Failure(
            "%s belongs to another domain (id %s)" % (place.path, at["domain"]),
            "give this instance another name, or the node another folder",
        )


def _told(staged: list[bytes]) -> Header:
    return {"reply": words.STAGE, "staged": [digest.decode() for digest in staged]}

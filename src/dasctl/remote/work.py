"""One instance of a `sync` on its way: what was asked, what was found, what became of it.

What lives here: the value that the steps of a synchronisation hand on. What must not: the steps (`sync.py` and its helpers).
"""

from __future__ import annotations

from dasctl.remote import compare, guard, overlay, state, tree, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Reply = dict[str, Any]


class Work:
    """One instance of a request, from its opening to its verdict."""

    def __init__(self, request: Reply) -> None:
        self.request = request
        self.name: str = request["name"]
        self.place: state.Place | None = None
        self.digests: tree.Digests | None = None
        self.kept = state.Kept()
        self.reply: Reply | None = None
        self.needs: list[bytes] = []
        self.lacks_space = False
        self.sizes: dict[bytes, int] = {}
        # Known once the parts are resolved and compared:
        self.parts: list[tuple[str, str, bytes]] = []
        self.partial = request["only"] is not None or request["except"] is not None
        self.ancestor: dict[bytes, bytes] = {}
        self.seen = tree.Seen()
        self.overlay = overlay.Overlay()
        self.plan = compare.Plan()

    def matches(self) -> Callable[[bytes], bool] | None:
        """Which paths the request is about; None: all."""
        if not self.partial:
            return None
        import re

        only = self.request["only"]
        chosen = None if only is None else [re.compile(pattern) for pattern in only]
        barred = [re.compile(pattern) for pattern in self.request["except"] or ()]

        def matches(path: bytes) -> bool:
            text = path.decode("latin-1")
            if any(pattern.search(text) for pattern in barred):
                return False
            return chosen is None or any(pattern.search(text) for pattern in chosen)

        return matches

    def excluded(self) -> Callable[[bytes], bool] | None:
        """Which foreign files stay even with `full`; None: none."""
        if not self.request["full"] or not self.request["excluded"]:
            return None
        import re

        patterns = [re.compile(pattern) for pattern in self.request["excluded"]]
        return lambda path: any(pattern.search(path.decode("latin-1")) for pattern in patterns)

    def same_parts(self) -> bool:
        """Whether the parts that are wanted are those that are there."""
        return [[name, digest] for name, digest, _data in self.parts] == self.kept.listing

    def fail(self, failure: Failure) -> None:
        """The end of this instance's part of the request."""
        self.needs = []
        self.lacks_space = failure.lacks_space
        self.reply = {
            "name": self.name, "verdict": words.FAILED, "message": failure.message, "hint": failure.hint,
        }  # fmt: skip

    def turn_away(self, judged: guard.Judgement, missing: Iterable[str] = ()) -> None:
        """The guard's answer instead of a synchronisation."""
        self.reply = {"name": self.name, "verdict": judged.verdict, "at": self.kept.at}
        if judged.verdict == words.STANDS:
            self.reply.update(parts=self.kept.listing, missing=list(missing))
        else:
            self.reply.update(reason=judged.reason, message=judged.message)

    def close(self) -> None:
        if self.place is not None:
            self.place.close()
            self.place = None

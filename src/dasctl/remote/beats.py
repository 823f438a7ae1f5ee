"""Signs of life while one step takes long: hashing a large tree, syncing a slow disk.

What lives here: a timer whose handler sends an event between two instructions of the main thread. What must not:
threads, whose import alone would lengthen each start.
"""

from __future__ import annotations

from dasctl.remote import words
from dasctl.remote.system import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from dasctl.remote.wire import Link


class Beating:
    """`with Beating(link):` an event goes out every BEAT_S seconds. Outside the main thread there are none."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before: object = None
        self._set = False

    def __enter__(self) -> None:
        try:
            self._before = signal.signal(signal.SIGALRM, self._beat)
        except ValueError:
            return
        self._set = True
        signal.setitimer(signal.ITIMER_REAL, words.BEAT_S, words.BEAT_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._set:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)  # type: ignore[arg-type]

    def _beat(self, number: int, frame: FrameType | None) -> None:
        if not self._link.sending:  # in the middle of a frame there is life enough
            self._link.send({"event": "beat"})

"""Signs of life of a helper that works."""

from __future__ import annotations

import io
import json
import signal
import threading
import time

from dasctl.remote import words
from dasctl.remote.beats import Beating
from dasctl.remote.wire import Link


def sent(out: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_beats_go_out_while_a_step_takes_long() -> None:
    out = io.BytesIO()
    before = signal.getsignal(signal.SIGALRM)
    with Beating(Link(io.BytesIO(), out)):
        deadline = time.monotonic() + 10 * words.BEAT_S
        while not out.getvalue() and time.monotonic() < deadline:
            sum(range(1000))
    assert sent(out)[0] == {"event": "beat"}
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_no_beat_in_the_middle_of_a_frame() -> None:
    out = io.BytesIO()
    link = Link(io.BytesIO(), out)
    beating = Beating(link)
    link.sending = True
    beating._beat(signal.SIGALRM, None)
    assert not out.getvalue()
    link.sending = False
    beating._beat(signal.SIGALRM, None)
    assert sent(out) == [{"event": "beat"}]


def test_outside_the_main_thread_there_are_none() -> None:
    went = []

    def work() -> None:
        with Beating(Link(io.BytesIO(), io.BytesIO())):
            went.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert went == [True]

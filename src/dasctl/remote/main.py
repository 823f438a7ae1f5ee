"""The helper's loop: greet, then answer one request after the other until the other end is gone.

What lives here: dispatch. What must not: what the requests do; each lives in a file of its own, imported when it is
asked for.
"""

from __future__ import annotations

import sys

from dasctl.remote import frames, messages, words
from dasctl.remote.state import Failure
from dasctl.remote.system import os
from dasctl.remote.wire import Gone, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, Protocol

    from dasctl.remote.sync import Syncing

    Header = dict[str, Any]
    Answer = Header | tuple[Header, bytes]

    class Stream(Protocol):
        """What goes on when the first answer has been given."""

        def answer(self, header: Header) -> Answer: ...

        def close(self) -> None: ...


FOLLOWED = (words.SYNC, words.CONTENTS, words.STAGE)  # requests behind which frames come, up to an end


def main(reader: BinaryIO, writer: BinaryIO, before: Callable[[str], None] = lambda operation: None) -> None:
    """Serve until `reader` ends. `before` is called ahead of each change to the disk: tests stop there."""
    link = Link(reader, writer)
    if hasattr(_loader(), "add"):
        _loader().link = link  # modules that were not sent are asked for
    try:
        _speak_first(writer)
        link.send(greeting())
        Server(link, before).serve()
    except Gone:
        _hush(writer)


def _loader() -> Any:
    """What this module was loaded by: the first program's pack (docs/protocol.md), on a node."""
    return __spec__.loader


def _hush(writer: BinaryIO) -> None:
    """What is left to be written has no reader: let it vanish, or the interpreter complains at its end."""
    try:
        handle = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(handle, writer.fileno())
        os.close(handle)
    except (OSError, ValueError, AttributeError):
        pass


def _speak_first(writer: BinaryIO) -> None:
    try:
        writer.write(b"\n" + words.MARKER + b"\n")
    except OSError:
        raise Gone from None


def greeting() -> Header:
    """Who we are, for the DAS."""
    import time

    return {
        "greeting": words.PROTOCOL, "python": list(sys.version_info[:3]), "pid": os.getpid(), "uid": os.getuid(),
        "user": _user(), "host": os.uname().nodename, "home": _home(), "time": time.time(),
        "boot": _boot_id(), "magic": getattr(_loader(), "magic", None),
    }  # fmt: skip


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _home() -> str:
    """As `os.path.expanduser` tells it."""
    home = os.environ.get(b"HOME")
    if isinstance(home, bytes):
        return home.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()).rstrip("/") or "/"
    from os.path import expanduser

    return expanduser("~")


def _boot_id() -> str:
    try:
        handle = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(handle, 100).decode("ascii", "replace").strip()
        finally:
            os.close(handle)
    except OSError:
        return ""


class Server:
    """The conversation: at most one `sync` waits for contents, or for its commit."""

    def __init__(self, link: Link, before: Callable[[str], None]) -> None:
        self.link = link
        self.before = before
        self.waiting: Syncing | None = None
        self.stream: Stream | None = None  # what the answer to `more` comes from

    def serve(self) -> None:
        """Answer requests until the stream ends."""
        try:
            while True:
                try:
                    header = self._next()
                except frames.FrameError as error:
                    # Where the next frame begins is not known any more.
                    self.link.send(_error(str(error)))
                    return
                if header is None:
                    return
                if "modules" in header:
                    _loader().add(header, self.link.body())
                    continue
                answer = self._answered(header)
                self.link.send(*(answer if isinstance(answer, tuple) else (answer,)))
        finally:
            self._forget()

    def _next(self) -> Header | None:
        """The next request. Who waits with a lock in the hand gives signs of life, and so finds out when nobody hears
        them any more."""
        if self.waiting is None:
            return self.link.header()
        from dasctl.remote.beats import Beating

        with Beating(self.link):
            return self.link.header()

    def _answered(self, header: Header) -> Answer:
        try:
            return self._answer(header)
        except messages.BadMessage as error:
            return self._malformed(header, error)
        except Failure as failure:
            return self._drained(header, _error(failure.message, failure.hint))
        except OSError as error:
            return self._drained(header, _error(str(error)))

    def _malformed(self, header: Header, error: messages.BadMessage) -> Header:
        return self._drained(header, _error("a request that is not allowed: %s" % error))

    def _drained(self, header: Header, reply: Header) -> Header:
        """Read what follows a request that could not be carried out, so that the next one is found."""
        self._forget()
        if header.get("op") in FOLLOWED:
            try:
                while True:
                    frame = self.link.header()
                    if frame is None or frame.get("end") is True:
                        break
            except frames.FrameError:
                raise Gone from None
        return reply

    def _forget(self) -> None:
        if self.waiting is not None:
            self.waiting.close()
            self.waiting = None
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def _answer(self, header: Header) -> Answer:
        op = header.get("op")
        if op == words.CONTENTS:
            return self._contents()
        if op == words.COMMIT:
            return self._commit()
        if op == words.MORE:
            return self._more(header)
        self._forget()
        if op == words.SYNC:
            return self._sync(header)
        if op in (words.LOOK, words.DEVIATIONS, words.READ, words.STAGE):
            return self._beside(op, header)
        if op == words.PING:
            from dasctl.remote import ping

            return ping.ping(header)
        if op == words.START:
            from dasctl.remote import start

            return start.start(self.link, header, self.before)
        if op in (words.STOP, words.RELOAD):
            from dasctl.remote import stop

            return stop.answer(self.link, header, self.before)
        if op == words.TAIL:
            return self._tail(header)
        if op == words.LOGS:
            return self._logs(header)
        if op == words.DUMP:
            from dasctl.remote import dumping

            return dumping.dump(self.link, header)
        if op == words.RUN:
            from dasctl.remote import run

            return run.run(self.link, header)
        if op == words.REMOVE:
            from dasctl.remote import remove

            return remove.remove(self.link, header, self.before)
        if op in (words.SOFTWARE, words.SWITCH):
            from dasctl.remote import software

            return software.answer(self.link, header, self.before)
        raise messages.BadMessage("op: %r is not a request" % (op,))

    def _beside(self, op: str, header: Header) -> Answer:
        """What takes no lock: it may go on while others change the instance."""
        from dasctl.remote.beats import Beating

        with Beating(self.link):
            if op == words.LOOK:
                from dasctl.remote import look

                return look.look(header)
            if op == words.DEVIATIONS:
                from dasctl.remote import deviations

                return deviations.answer(header)
            if op == words.READ:
                from dasctl.remote import reading

                return reading.answer(header)
            from dasctl.remote import carrying

            return carrying.stage(self.link, header)

    def _sync(self, header: Header) -> Header:
        from dasctl.remote.beats import Beating
        from dasctl.remote.sync import Syncing

        self.waiting = Syncing(header, self.before)
        with Beating(self.link):
            return self._settled(self.waiting.start(self.link, self.link.body()))

    def _contents(self) -> Header:
        from dasctl.remote.beats import Beating

        if self.waiting is None:
            raise messages.BadMessage("contents that nobody asked for")
        with Beating(self.link):
            return self._settled(self.waiting.go_on(self.link))

    def _commit(self) -> Header:
        from dasctl.remote.beats import Beating

        if self.waiting is None:
            raise messages.BadMessage("a commit, but nothing is staged")
        with Beating(self.link):
            reply = self.waiting.commit()
        self._forget()
        return reply

    def _tail(self, header: Header) -> Header:
        from dasctl.remote import tailing
        from dasctl.remote.beats import Beating

        with Beating(self.link):
            reply, self.stream = tailing.begin(self.link, header)
        return reply

    def _logs(self, header: Header) -> Header:
        from dasctl.remote import collecting

        reply, self.stream = collecting.begin(self.link, header)
        return reply

    def _more(self, header: Header) -> Answer:
        if self.stream is None:
            raise messages.BadMessage("there is nothing that there could be more of")
        return self.stream.answer(header)

    def _settled(self, reply: Header) -> Header:
        if self.waiting is not None and not self.waiting.waits():
            self._forget()
        return reply


def _error(message: str, hint: str = "") -> Header:
    return {"reply": "error", "message": message, "hint": hint}

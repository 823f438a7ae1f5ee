"""What commands answered on instances: read from the wire, and added up to an exit code.

What lives here: values and judgement. What must not: links; how answers are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasctl.core import verdicts
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError, ProtocolError
from dasctl.remote import words

LATE = 124  # as timeout(1) says it
NOT_RUN = 255  # as ssh(1) says that it could not run a command


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended on one instance: with `status`, or by `signal`; or why it was not run (`error`).

    `out` and `err` have surrogate escapes for what is not UTF-8, and a line where bytes were left out: `more` of them.
    `late`: it was ended at its time limit. `left`: something in the background goes on, with its output open.
    """

    status: int | None = None
    signal: int | None = None
    out: str = ""
    err: str = ""
    more: int = 0
    seconds: float = 0.0
    late: bool = False
    left: bool = False
    error: DasctlError | None = None

    @property
    def good(self) -> bool:
        return self.error is None and self.status == 0 and not self.late

    @property
    def code(self) -> int | None:
        """What a shell would say: 128 and the signal's number where it was ended by one. None: it was not run."""
        if self.late:
            return LATE
        return 128 + self.signal if self.signal is not None else self.status

    @property
    def ending(self) -> str:
        """`exit status 3`, `killed by signal 9`, `ended at its time limit`; what went wrong before."""
        if self.error is not None:
            return self.error.message
        if self.late:
            return "ended at its time limit"
        return f"exit status {self.status}" if self.signal is None else f"killed by signal {self.signal}"


def read_all(header: Mapping[str, Any], names: Sequence[str], node: str) -> dict[str, Ran]:
    """The answers in a reply to `run`. Raises ProtocolError where it is none."""
    return {verdict.name: _read(verdict, node) for verdict in verdicts.read_all(header, names, node)}


def _read(verdict: Verdict, node: str) -> Ran:
    match verdict.verdict:
        case words.DONE:
            return _ran(verdict, node)
        case words.REFUSED:
            return Ran(error=verdicts.refusal(verdict, node))
        case _:
            return Ran(error=verdicts.failure(verdict, node))


def _ran(verdict: Verdict, node: str) -> Ran:
    more = verdict.more
    ending = more.get("exit")
    if not isinstance(ending, Mapping) or len(ending) != 1:
        raise _unfit(node, "exit", ending)
    ((how, number),) = ending.items()
    if how not in ("status", "signal") or type(number) is not int or not 0 <= number < 256:
        raise _unfit(node, "exit", ending)
    for key in ("out", "err"):
        if not isinstance(more.get(key), str) or not _is_bytes(more[key]):
            raise _unfit(node, key, more.get(key))
    seconds = more.get("seconds")
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e12:
        raise _unfit(node, "seconds", seconds)
    return Ran(
        status=number if how == "status" else None, signal=number if how == "signal" else None,
        out=more["out"], err=more["err"], more=more.get("more", 0), seconds=float(seconds),
        late=more.get("late") is True, left=more.get("left") is True,
    )  # fmt: skip


def _is_bytes(text: str) -> bool:
    """Whether `text` stands for bytes: other surrogates than escapes do not."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeError:
        return False
    return True


def _unfit(node: str, key: str, value: Any) -> ProtocolError:
    return ProtocolError(f"node {node}: an answer that does not fit the protocol: {key}: {value!r:.80}")


def largest(codes: Iterable[int]) -> int:
    """The exit code that stands for all: the largest, as with `pdsh -S`; 0 where there is none.

    Commands may end with what are codes of dasctl elsewhere. So `run` says nothing of its own with those: an instance on
    which the command was not run counts as NOT_RUN.
    """
    return max(codes, default=0)

"""The guard: may this request do something to this instance? The member decides, so a stale DAS cannot win.

What lives here: the table of docs/protocol.md ("The guard"), as one pure function. What must not: files, frames, words
for people beyond the message of a refusal.
"""

from __future__ import annotations

from dasctl.remote import words
from dasctl.remote.records import Record, fields, made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NamedTuple

    class Judgement(NamedTuple):
        """`verdict` is None where the request goes on; otherwise `stands` or `refused` with `reason` and `message`."""

        verdict: str | None
        reason: str = ""
        message: str = ""

else:

    class Judgement(Record):
        __slots__ = ()
        _fields = ("verdict", "reason", "message")
        verdict, reason, message = fields(3)

        def __new__(cls, verdict, reason="", message=""):
            return made(cls, (verdict, reason, message))


GOES_ON = Judgement(None)


def judge(
    at: Mapping[str, Any] | None,
    *,
    newer: str,
    domain: str,
    epoch: int,
    expect: Sequence[Any] | None,
    lead: Mapping[str, Any] | None,
    config_id: int | None,
    local: bool,
) -> Judgement:
    """Judge a request by what the instance accepted last: `at`, None where nothing stands there.

    `newer` describes a state of a newer format ("" where it is not one); the other arguments are the request's own.
    """
    if newer:
        return Judgement(words.REFUSED, words.NEWER_FORMAT, newer)
    if local or at is None:
        return GOES_ON if local or expect is None else Judgement(words.STANDS)
    if at["domain"] != domain:
        return Judgement(
            words.REFUSED,
            words.ANOTHER_DOMAIN,
            "this folder belongs to another domain (id %s)" % at["domain"],
        )
    if epoch < at["epoch"]:
        return Judgement(words.REFUSED, words.FENCED, _fenced(at, epoch))
    standing = [at["revision"], at["digest"]]
    if lead is not None and [lead["revision"], lead["digest"]] == standing:
        return GOES_ON
    if expect is None or list(expect) != standing:
        return Judgement(words.STANDS)
    if config_id is not None and lead is None and config_id != at["config_id"]:
        return Judgement(
            words.REFUSED,
            words.MEMBERSHIP,
            "the two sides disagree about the membership: config id %08x here, %08x there"
            % (at["config_id"], config_id),
        )
    return GOES_ON


def _fenced(at: Mapping[str, Any], epoch: int) -> str:
    whom = " (%s on %s)" % (at["who"], at["host"]) if at.get("who") else ""
    return "fenced: epoch %d has taken over%s, this request is of epoch %d" % (at["epoch"], whom, epoch)

"""What a helper said about one instance, checked and turned into decisions.

What lives here: reading verdicts, and the judgement over a chain of digests. What must not: links, the order of trips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from dasctl.core.stamps import Standing
from dasctl.errors import GuardRefused, OperationFailed, ProtocolError
from dasctl.remote import words

VERDICTS = frozenset(
    {words.DONE, words.UNCHANGED, words.STANDS, words.NEEDS, words.STAGED, words.REFUSED, words.FAILED}
)

# What is told of a synchronisation: numbers, and lists of objects with the texts that they must have.
_COUNTS = ("changed", "touched", "deleted", "copied", "more")
_LISTS = {
    "deviations": ("path", "kind"),
    "changes": ("path", "why"),
    "problems": ("path", "message"),
}


class Chain(Protocol):
    """What this judgement asks of a history (`ports.History`)."""

    def find(self, standing: Standing) -> object | None: ...

    def outranks(self, epoch: int) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where an instance stands by its own account, and who brought it there."""

    domain: str
    epoch: int
    config_id: int
    standing: Standing
    who: str
    host: str
    when: float
    command: str

    @property
    def story(self) -> str:
        """`revision 9 (made by alice on das2 at 2026-01-02 03:04:05Z with 'sync-cluster web')`."""
        with_what = f" with '{self.command}'" if self.command else ""
        when = _moment(self.when)
        return f"revision {self.standing.revision} (made by {self.who} on {self.host} at {when}{with_what})"


def _moment(seconds: float) -> str:
    """A moment in UTC. It came from a file on a node, so it may be one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One instance's answer; `more` are the keys of its own request."""

    name: str
    verdict: str
    at: At | None
    more: Mapping[str, Any]

    @property
    def parts(self) -> dict[str, str]:
        """The parts that the instance says it has, name to digest."""
        return {str(name): str(digest) for name, digest in self.more.get("parts") or ()}

    @property
    def needs(self) -> dict[str, int]:
        """The contents that have to follow: SHA-256 to how many bytes of its beginning the node has."""
        return dict(_need(item) for item in self.more.get("contents") or ())


def read_all(header: Mapping[str, Any], names: Sequence[str], node: str) -> list[Verdict]:
    """The verdicts of a reply, one for each of `names` in order; ProtocolError where it is anything else."""
    rows = header.get("instances")
    if not isinstance(rows, list) or [_name(row) for row in rows] != list(names):
        raise ProtocolError(f"node {node}: an answer about other instances than were asked for")
    try:
        return [_read(row) for row in rows]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"node {node}: an answer that does not fit the protocol: {error!r}") from error


def _need(item: Any) -> tuple[str, int]:
    digest, have = item if isinstance(item, list) else (item, 0)
    if not isinstance(digest, str) or type(have) is not int or have < 0:
        raise TypeError(f"contents: {item!r:.80}")
    return digest, have


def _name(row: Any) -> Any:
    return row.get("name") if isinstance(row, dict) else None


def _read(row: Mapping[str, Any]) -> Verdict:
    if row["verdict"] not in VERDICTS:
        raise ValueError(row["verdict"])
    for key in _COUNTS:
        if type(row.get(key, 0)) is not int:
            raise TypeError(f"{key}: {row[key]!r:.80}")
    for key, texts in _LISTS.items():
        for item in row.get(key) or ():
            if not all(isinstance(item[text], str) for text in texts):
                raise TypeError(f"{key}: {item!r:.80}")
    for item in row.get("contents") or ():
        _need(item)
    return Verdict(name=row["name"], verdict=row["verdict"], at=read_at(row.get("at")), more=row)


def read_at(at: Mapping[str, Any] | None) -> At | None:
    """The `at` of a message; None where nothing is there."""
    if at is None:
        return None
    return At(
        domain=str(at["domain"]), epoch=int(at["epoch"]), config_id=int(at["config_id"]),
        standing=Standing(revision=int(at["revision"]), digest=str(at["digest"])),
        who=str(at.get("who", "")), host=str(at.get("host", "")), when=float(at.get("when", 0.0)),
        command=str(at.get("command", "")),
    )  # fmt: skip


def refusal(verdict: Verdict, node: str) -> GuardRefused:
    """The error for a verdict `refused`."""
    reason, message = verdict.more.get("reason"), str(verdict.more.get("message", ""))
    what = f"node {node} refused for {verdict.name}: {message or reason}"
    if verdict.at is not None:
        what += f"; it stands at {verdict.at.story}"
    hint = {
        words.ANOTHER_DOMAIN: "give this instance another name, or this node another --nodedir",
        words.FENCED: "another DAS took over: administer the domain from there, or 'dasctl take-over' deliberately",
        words.MEMBERSHIP: "synchronise first: the membership of the domain has changed since",
        words.NEWER_FORMAT: "use the newer dasctl that wrote it",
    }.get(str(reason), "")
    return GuardRefused(what, hint=hint)


def unknown_revision(verdict: Verdict, node: str) -> GuardRefused:
    """The error for an instance that stands at a revision this history never had."""
    assert verdict.at is not None
    return GuardRefused(
        f"{verdict.name} on node {node} stands at {verdict.at.story}, which this copy of the domain does not know: "
        "another copy has administered it since, or this one has lost its history",
        hint="use the other copy; if this one shall have authority from now on: dasctl take-over",
    )


def is_known(history: Chain, at: At) -> bool:
    """Whether this history may lead an instance on from where it stands: it had that revision, or it was restored since and
    took over, so that whoever led the instance there had authority no more.
    """
    return history.find(at.standing) is not None or history.outranks(at.epoch)


def failure(verdict: Verdict, node: str) -> OperationFailed:
    """The error for a verdict `failed`, with the server's exit, its last lines and the command to try by hand."""
    more = verdict.more
    lines = [f"{verdict.name} on node {node}: {more.get('message', 'failed')}"]
    log = [str(line) for line in more.get("log") or ()]
    if log:
        lines += ["last lines of its log:", *(f"  | {line}" for line in log)]
    hint = str(more.get("hint", ""))
    if more.get("by_hand"):
        hint = f"to see it by hand on {node}: {more['by_hand']}" + (f"\n{hint}" if hint else "")
    return OperationFailed("\n".join(lines), hint=hint)

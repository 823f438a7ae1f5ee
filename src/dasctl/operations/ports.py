"""What operations need of the outside world: a page of protocols. Adapters fit them; `wiring.py` joins both.

Each has two real implementations, the world's and one in memory (tests/contracts runs one suite on both).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dasctl.core.domain import Criterion, Domain, Node
from dasctl.core.exchange import (
    PHASES,
    BundleFile,
    Event,
    HostKey,
    Kept,
    NewRelease,
    Piece,
    Reply,
    Unpacked,
    Who,
)
from dasctl.core.slices import Scan
from dasctl.core.stamps import Acknowledged, Revision, Standing
from dasctl.remote.manifest import Entry
from dasctl.remote.words import BEAT_S

if TYPE_CHECKING:
    from dasctl.core.archives import Limits  # of use to few commands
    from dasctl.core.bundles import Plan  # of use to one command only
    from dasctl.core.edits import Edit
    from dasctl.core.failures import Failure, News
    from dasctl.core.moves import Move, Touch
    from dasctl.core.telling import Told
    from dasctl.core.tolerance import Tolerance
    from dasctl.operations.backup_ports import Backups  # of use to few commands
    from dasctl.operations.collecting_ports import LogArchives  # of use to two commands
    from dasctl.operations.member_ports import Members  # of use on nodes only

__all__ = [
    "PHASES", "Acknowledged", "Archives", "BundleFile", "Bundles", "Clock", "Context", "Event", "History", "HostKey",
    "HostKeys", "Link", "Links", "Move", "NewRelease", "Objects", "Piece", "Releases", "Reply", "Repository", "Store",
    "Touch", "Who", "Working", "Written",
]  # fmt: skip


class Written(Protocol):
    """`domain.yaml` as it is written: plain data, without defaults."""

    @property
    def data(self) -> dict[str, Any]: ...

    def line(self, path: tuple[str, ...]) -> int:
        """The line (from 1) of the deepest part of `path` that is there."""


class Store(Protocol):
    """The domain's folder: `domain.yaml` and the lock."""

    @property
    def root(self) -> Path:
        """The domain's folder, absolute."""

    def load(self) -> Domain:
        """The valid domain. Raises InvalidDomain with all faults, FormatTooNew, DomainNotFound."""

    def edit(self, edits: Sequence[Edit]) -> Domain:
        """Make all edits or none, changing only the lines they must; returns the domain as read again.

        The caller holds the lock. Raises InvalidDomain (nothing is changed then).
        """

    def undoable(self) -> AbstractContextManager[Callable[[], None]]:
        """What is given puts `domain.yaml` back as it was when the block began. That needs no room on the disk.

        The caller holds the lock. Raises OperationFailed.
        """

    def edited(self, edits: Sequence[Edit]) -> bytes:
        """The text that `edit` would leave, judged as there; nothing is written. For `Working.put`, beside other files."""

    def written(self) -> Written:
        """What stands in `domain.yaml`, and where. Raises InvalidDomain where it is not YAML."""

    def parsed(self, text: bytes) -> Domain:
        """The domain that a text of domain.yaml describes, such as an earlier one. Raises InvalidDomain, FormatTooNew."""

    def warnings(self, domain: Domain) -> tuple[str, ...]:
        """What is valid and yet surprising, a line each."""

    def place(self, path: tuple[str, ...]) -> str:
        """Where the value at `path` stands in `domain.yaml`: `config/domain.yaml:12`."""

    def domain_locked(self, command: str, *, wait_s: float) -> AbstractContextManager[None]:
        """Hold the domain's lock. Raises DomainLocked after `wait_s` seconds. Freed by the kernel if we are killed.

        What a killed command had begun to `put` is finished first; OperationFailed where that cannot be done.
        """


class Repository(Protocol):
    """The contents of the domain's folder."""

    def scan_ahead(self, domain: Domain, *, criterion: Criterion) -> None:
        """Begin now what `scan` with this very domain and criterion will ask for, if that can be done beside all else.

        What changes in between may be in it or not. Raises nothing: `scan` does.
        """

    def scan(self, domain: Domain, *, criterion: Criterion) -> Scan:
        """Look at all areas; what cannot be synchronised (sockets, devices, links that lead out) is in `problems`.

        With "modtime" an unchanged file (size, modtime, inode, ctime) is not read again; with "hash" all are read.
        """

    def read(self, path: bytes, *, piece: int) -> Iterable[bytes]:
        """The file at `path` below the root, in pieces of at most `piece` bytes. Raises RepositoryError, at the latest
        while it is iterated. No link is followed.
        """

    def kind_of(self, path: bytes) -> str | None:
        """What lies at `path` below the root, synchronised or not: "f", "d", "l", or "" for anything else; None: nothing.

        No link is followed on the way.
        """

    def names(self) -> Iterable[tuple[bytes, bool]]:
        """All paths in the four areas, excluded ones too, and whether each is a folder; nothing is read."""

    def publish(self, definitions: Mapping[str, bytes], *, write: bool = True) -> Mapping[str, Entry]:
        """Keep each instance's own part of domain.yaml as a file that `read` can read; returns the entries.

        Rewritten only when it differs, so that its modtime changes only when its content does. Files of instances
        that are no more go. Without `write` nothing is written: entries as they are, or, of what differs, as they would be;
        those cannot be read.
        """


class Working(Protocol):
    """The files of the domain's folder as something that commands change: all at once, or not at all."""

    def making(self) -> AbstractContextManager[Path]:
        """A new, empty folder for what is to be `put`, gone at the end whatever happens. No lock is needed for it.

        Raises OperationFailed where it cannot be made.
        """

    def put(self, moves: Sequence[Move], touches: Sequence[Touch] = ()) -> None:
        """Make all moves, then give what `touches` name their modes and modtimes. The caller holds the lock.

        Staged things lie in a `making()` folder and are gone from there afterwards. Folders that are missing on the way
        are made. What is at a place is replaced, whatever it is; no move is at or below another one's place. No link
        is followed on the way. `config/domain.yaml` may be among them: it is not judged here (`Store.edited` does).

        All is on the disk when this returns. A command that is killed on the way has done nothing, or the next
        `domain_locked()` does the rest. Raises OperationFailed with nothing changed; where the disk fails in the middle of
        it, the message says that the change was begun, and the next lock tries to finish it before anything else.
        """

    def write(self, at: Path, entries: Sequence[Entry], content: Callable[[str], Iterable[bytes]]) -> None:
        """Make at `at`, in a `making()` folder, what `entries` say: the first is its top, the others lie in it, each after
        its folder. Modes and modtimes are those of the entries; `content` gives a file by its SHA-256 (hex).

        Raises OperationFailed with nothing changed (the disk is full), and what `content` raises.
        """


class Objects(Protocol):
    """Contents of the kept revisions, by SHA-256 (hex), in `.dasctl/`: compressed once, verified when read.

    May be used from several threads. What is damaged or missing is made anew from the working file that
    `keep` was told of, where that still holds the content.
    """

    def keep(self, contents: Mapping[str, bytes], *, replacing: Collection[str] = ()) -> dict[str, bytes]:
        """Keep these contents (SHA-256 to the path of a file below the domain's folder that holds it).

        Those that are kept already cost one look. Large ones of `replacing`, which probably travel as deltas, need not be
        packed before somebody wants their pieces. Returns those whose files hold another content by now. Raises
        HistoryError where the disk is full.
        """

    def has(self, digest: str) -> bool:
        """Whether the object is there; its bytes are not read."""

    def packed_size(self, digest: str) -> int:
        """How many bytes its pieces are together. Raises ObjectLost."""

    def pieces(self, digest: str, *, offset: int = 0, as_they_are: bool = False) -> Iterable[Piece]:
        """Its pieces as they lie, from the one that begins at raw byte `offset` on; of an empty content one, empty.
        `as_they_are`: none of them packed.

        Raises ObjectLost, at the latest while it is iterated: it is missing, or its bytes do not have the digest (found
        out at the end, when `offset` is 0), and no working file holds the content.
        """

    def delta(self, base: str, digest: str) -> bytes | None:
        """The zlib-compressed instructions that make `digest` of `base` (docs/protocol.md), made once and kept for the pair.

        None where they are not worth it (not smaller than the packed content), or one of the two cannot be read.
        """

    def collect(self, needed: Callable[[], Iterable[str]]) -> int:
        """Remove objects and deltas that are not among `needed` (asked for only when it is time); returns how many went."""

    def check(self, needed: Iterable[str]) -> dict[str, str]:
        """Read all of these; what is wrong with which could not be made anew either."""


class History(Protocol):
    """Revisions and acknowledgements, in `.dasctl/`. The chain is kept for ever; manifests as long as needed."""

    def epoch(self) -> int:
        """The epoch in which this DAS has authority; 1 in a new domain."""

    def raise_epoch(self, epoch: int) -> None:
        """Remember a higher epoch. Raises HistoryError if it is not higher."""

    def head(self) -> Revision | None:
        """The last revision."""

    def find(self, standing: Standing) -> Revision | None:
        """The revision with this number and this digest, if it is in this chain."""

    def revisions(self, *, limit: int | None = None) -> list[Revision]:
        """The last revisions, the newest first."""

    def record(self, revision: Revision, parts: Mapping[str, bytes], *, keep: int | None = None) -> Revision:
        """Append: gives `revision` the next number, whatever number it comes with, seals it onto the chain, and keeps its
        parts (digest to canonical bytes). Returns it as recorded. Atomic, durable.

        `keep`: of how many of the last revisions the parts stay kept; None: of as many as the history was made with.
        """

    def foreseen(self, revision: Revision) -> Revision:
        """`revision` as `record` would record it now; nothing is written."""

    def acknowledged(self, instances: Iterable[str]) -> dict[str, Acknowledged]:
        """What these instances confirmed last; those that never did are absent."""

    def acknowledge(self, confirmed: Mapping[str, Acknowledged], parts: Mapping[str, bytes]) -> None:
        """Remember what instances confirmed, and the canonical bytes of those parts. Atomic."""

    def failures(self) -> dict[str, Failure]:
        """The instances at which the last command failed."""

    def remember(self, news: News) -> None:
        """Keep what failed, drop what was mended. Atomic."""

    def forget(self, instance: str) -> None:
        """Drop what is remembered of an instance that is no more."""

    def tell(self, told: Told) -> None:
        """Keep what a command amounted to, for the story; what tells the same as the last one is counted. Atomic.

        The last ones are kept, some thousands.
        """

    def told(self, revisions: Sequence[int]) -> list[Told]:
        """What was told of commands that ended at these revisions, in order."""

    def part(self, digest: str) -> bytes | None:
        """The canonical bytes of a part that is still kept."""

    def parts(self, number: int | None = None) -> list[str]:
        """The digests of the parts that are kept: of this revision, or all, those that instances confirmed included."""

    def parts_of(self, number: int) -> dict[str, bytes] | None:
        """The parts that were recorded with a revision (digest to canonical bytes); None where they are kept no more."""

    def restart_at(self, number: int) -> None:
        """Let the next revision of an empty or lower history have this number (take-over). The chain goes on.

        Raises HistoryError if the history already has that number or a higher one.
        """

    def restored(self, epoch: int) -> None:
        """Remember that this history came out of a backup, and has authority from `epoch` on."""

    def outranks(self, epoch: int) -> bool:
        """Whether an instance that was led to a place in `epoch` may be led on from there, even if this history has never
        had that place: it came out of a backup since then, and took over.
        """

    def verify(self) -> int:
        """Recompute the chain; returns how many revisions it has. Raises HistoryError at the first that does not fit."""


class Link(Protocol):
    """A conversation with the helper on one node. One request at a time; the opener closes it.

    Every method raises LinkLost or NodeTimeout when the node is gone, ProtocolError when it talks nonsense.
    """

    @property
    def greeting(self) -> dict[str, Any]:
        """What the helper said first: python, pid, time, user, home … (docs/protocol.md).

        It comes with the answer to the first request, in one trip: before that, RuntimeError is raised.
        """

    @property
    def round_trips(self) -> int:
        """How many requests have been answered."""

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the transport, the helper itself included."""

    async def ask(
        self,
        header: dict[str, Any],
        body: bytes = b"",
        *,
        then: AsyncIterator[bytes] | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        silence_s: float | None = None,
    ) -> Reply:
        """Send one request and wait for its reply: one round trip.

        `then` yields encoded frames that follow the request (contents), whole ones or a `CutOff` that what comes next
        completes; it is drained with back-pressure, and ended for the helper by the caller's own `end` frame. `on_event`
        gets each event frame's header as it comes. `silence_s` is how long the node may say nothing and take nothing
        before it counts as gone (None: the default of 60 s).
        """

    async def measure(self) -> float | None:
        """Seconds of a round trip on this line, with nothing in between; None where that cannot be known."""

    def further(self) -> AbstractAsyncContextManager[Link]:
        """Another link to the same node over the same connection, with a helper of its own; it may be used while this
        one is. Raises NodeError, NodeNotUsable where there is none to be had: the caller goes on with this one.
        """


class Links(Protocol):
    """Opens links: to nodes over SSH, or to helpers on this machine."""

    def open(self, name: str, node: Node) -> AbstractAsyncContextManager[Link]:
        """A link to the node called `name`; raises the NodeError that says why not. Retries nothing."""


class HostKeys(Protocol):
    """Which host keys are known: the domain's own, and the user's."""

    async def admit(
        self, name: str, node: Node, *, accept_any: bool = False, fingerprint: str | None = None
    ) -> HostKey:
        """Look at the node's host key; one that is not known is kept in the domain if it is accepted.

        `accept_any` accepts what is shown, `fingerprint` only that key; both replace another key that was kept before.
        Raises UnknownHostKey, ChangedHostKey, NodeUnreachable.
        """

    def forget(self, node: Node) -> None:
        """Drop what the domain keeps for the node's host and port."""

    async def install_key(
        self,
        name: str,
        node: Node,
        public_key: Path | None,
        *,
        generate: bool,
        ask_password: Callable[[str], str],
    ) -> str:
        """Put a public key on a node, with a password where no key is accepted yet; says in a sentence what was done.

        Called again it changes nothing. Raises NodeError, UsageError where there is no key.
        """


class Bundles(Protocol):
    """Writes bundles for nodes that no link reaches."""

    def write(
        self,
        file: Path,
        plan: Plan,
        content: Callable[[str], Iterable[bytes]],
        on_written: Callable[[int], None],
    ) -> BundleFile:
        """Write `file` beside and rename it. `content` gives a content by SHA-256, in pieces; what it raises ends all.

        `on_written` gets how many raw bytes of contents are in so far. Raises OperationFailed where it cannot be written.
        """


class Archives(Protocol):
    """Archives of applications and of servers' software: .war, .ear, .jar, .zip, .tar.gz, .tgz (`core/archives.py`).

    `on_bytes` is told of bytes as they are read; what it raises ends the work. Everything raises OperationFailed where
    a disk is full or a file cannot be read.
    """

    def unpack(
        self, archive: Path, into: Path, limits: Limits, *, on_bytes: Callable[[int], None] = ...
    ) -> Unpacked:
        """Unpack into the folder `into`, which is empty or not there. Nothing is synced to the disk yet.

        Modtimes, executable bits and links are as in the archive. Raises ArchiveRefused, which names the member: what was
        made so far is then the caller's to remove.
        """

    def entries(self, archive: Path, limits: Limits) -> Iterable[Entry]:
        """What `unpack` would make of each member, with digests; nothing is written. Folders of no member are absent.

        Raises the same, at the latest while it is iterated.
        """

    def pack(self, folder: Path, archive: Path, *, on_bytes: Callable[[int], None] = ...) -> None:
        """Make a .tar.gz, which is not there yet, of all that is in `folder`: the same bytes for the same folder."""

    def keep(self, source: Path, to: Path, *, on_bytes: Callable[[int], None] = ...) -> Kept:
        """Copy a file to `to`, which is not there yet, with its modtime."""


class Rollouts(Protocol):
    """A change that is not finished, if there is one: a text, replaced as a whole. The caller holds the lock."""

    def read(self) -> bytes | None:
        """What was written last. Raises OperationFailed where it cannot be read."""

    def write(self, data: bytes) -> None:
        """Replace it; it survives a kill. Raises OperationFailed."""

    def clear(self) -> None:
        """Nothing is unfinished any more. May be called twice."""


class Releases(Protocol):
    """Releases of the servers' own software, as the DAS keeps them in `.dasctl/releases/V/`."""

    def make(
        self, source: Path, version: str, room: Path, limits: Limits, *, strip: bool,
        on_bytes: Callable[[str], Callable[[int], None]] = ...,
    ) -> NewRelease:  # fmt: skip
        """Unpack an archive, a folder or a single file into `room`, an empty folder below the domain's.

        `strip`: the one folder in which all of an archive lies is left out. `on_bytes(PHASE)` is told of the bytes of
        that phase as with `Archives`. Raises OperationFailed, ArchiveRefused.
        """

    def manifest(self, version: str) -> bytes | None:
        """The canonical bytes of its part; None where it is not kept."""

    def manifests(self) -> Iterable[bytes]:
        """Those of all that are kept: their contents are needed."""


class Clock(Protocol):
    """Time is an argument: seconds since the epoch, and seconds that only grow."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that an operation is given."""

    store: Store
    repository: Repository
    working: Working
    history: History
    objects: Objects
    links: Links
    host_keys: HostKeys
    clock: Clock
    who: Who
    parallel: int = 64
    tolerance: Tolerance | None = None  # of failed instances, before no further node is begun
    wait_s: float = 0.0
    timeout_s: float = 10.0  # how long a node may take to answer before it counts as away
    boot: Callable[[], str] = (
        str  # the boot id of this machine; "": not known, or of no matter (`core/lines.py`)
    )
    on_event: Callable[[Event], None] = field(default=lambda event: None)
    ask: Callable[[str], bool] | None = (
        None  # puts a question to a person, in any thread; None: nobody is there
    )
    first_links: Links | None = (
        None  # log in as if for the first time, where `links` may repeat what worked; None: they do
    )
    members: Members | None = None  # for serve-members and member-key alone
    bundles: Bundles | None = None  # for export-sync-bundle alone
    backups: Backups | None = None  # for the commands of backups alone
    log_archives: LogArchives | None = None  # for collect-log-files and dump alone
    rollouts: Rollouts | None = None  # for rolling changes alone
    switches: Rollouts | None = None  # what upgrade-node has begun on nodes
    archives: Archives | None = None  # for what is deployed or installed
    releases: Releases | None = None  # of the servers' own software

    @property
    def patience_s(self) -> float:
        """How long a helper that works may say nothing: it beats, so three beats that stay away mean that it is gone."""
        return max(self.timeout_s, 3 * BEAT_S)

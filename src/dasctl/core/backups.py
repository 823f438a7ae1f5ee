"""Backups: what one says about itself, what it is called, and which are no longer kept.

What lives here: the values, their forms, the manifest in the form of `sha256sum`. What must not: files, archives.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dasctl.core import names
from dasctl.errors import FormatTooNew, OperationFailed
from dasctl.remote.manifest import Entry, line, order

FORMAT = 1
MANIFEST = b"MANIFEST.sha256"  # the first member
FACTS = b"BACKUP.json"  # the second
ENDING = ".tar.gz"
OWN = b".dasctl"
DATABASE = OWN + b"/history.db"
OBJECTS = OWN + b"/objects"
KEPT_FILES = (OWN + b"/known_hosts",)
KEPT_FOLDERS = (
    OWN + b"/members",
    OWN + b"/definitions",
)  # the latter for their modtimes: instances have them
WITH_HISTORY = (OWN + b"/releases",)  # archives of the server's software
MOST_FACTS = 1 << 20  # bytes

_NAME = re.compile(r".+-\d{8}T\d{6}Z-r\d+(-\d+)?\.tar\.gz\Z", re.DOTALL)
_ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a backup holds: a revision of a domain. `when` and `made` in seconds since the epoch: of the revision, of the
    backup. `size`: bytes of the tree's files. `tree`: SHA-256 of all entries of the domain's tree, in canonical
    bytes and order.
    """

    domain: str
    id: str
    revision: int
    digest: str
    epoch: int
    when: float
    made: float
    who: str
    host: str
    history: bool
    tree: str
    files: int
    size: int

    def as_bytes(self) -> bytes:
        document = {"format": FORMAT, **{key: getattr(self, key) for key in self.__slots__}}
        return json.dumps(document, indent=1).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """A backup's file; `size` in bytes. `facts` None: it cannot be used, and `fault` says why."""

    path: Path
    size: int
    facts: Facts | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A domain that was laid out beside the place where it will be: its folder, and what the backup says."""

    folder: Path
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The domain that is to be replaced: its id ("" where it cannot be read), its epoch and its last revision's number."""

    id: str
    epoch: int = 0
    revision: int = 0


def facts_of(data: bytes, where: str) -> Facts:
    """The facts in a backup; `where` names it. Raises OperationFailed, FormatTooNew."""
    try:
        document = json.loads(data)
        if isinstance(document["format"], int) and document["format"] > FORMAT:
            raise FormatTooNew(
                f"{where} has format {document['format']}, and this dasctl knows format {FORMAT}",
                hint="use the dasctl that wrote it, or a newer one",
            )
        kinds: Mapping[str, Any] = {
            "domain": str,
            "id": str,
            "digest": str,
            "who": str,
            "host": str,
            "tree": str,
        }
        for key, kind in kinds.items():
            if not isinstance(document[key], kind):
                raise TypeError(key)
        if names.fault_of(document["domain"]):
            raise ValueError(document["domain"])
        return Facts(
            **{key: document[key] for key in kinds}, revision=int(document["revision"]), epoch=int(document["epoch"]),
            when=float(document["when"]), made=float(document["made"]), history=bool(document["history"]),
            files=int(document["files"]), size=int(document["size"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise OperationFailed(
            f"{where} is no backup of a domain, or is damaged: {FACTS.decode()}: {error!r:.100}"
        ) from error


def name_of(domain: str, made: float, revision: int, again: int = 0) -> str:
    """What the file is called: `shop-20261121T151200Z-r12.tar.gz`; `again`: there is one of that name already."""
    moment = datetime.fromtimestamp(made, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{domain}-{moment}-r{revision}{f'-{again}' if again else ''}{ENDING}"


def is_name(name: str) -> bool:
    """Whether a file is called as backups are."""
    return bool(_NAME.match(name))


def superfluous(found: Iterable[tuple[str, Facts]], id: str, keep: int) -> list[str]:
    """Which of these backups (name, facts) go, so that the `keep` youngest of this domain stay; the oldest first."""
    ours = sorted((facts.made, name) for name, facts in found if facts.id == id)
    return [name for _, name in ours[: max(len(ours) - keep, 0)]]


def tree_digest(entries: Iterable[Entry]) -> str:
    """The digest of a tree's entries, whatever order they come in."""
    seen = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: order(entry.path)):
        seen.update(line(entry) + b"\0")
    return seen.hexdigest()


def manifest(files: Sequence[tuple[bytes, str]]) -> bytes:
    """Names and digests as `sha256sum` prints them and `sha256sum -c` reads them."""
    return b"".join(_line(name, digest) for name, digest in files)


def _line(name: bytes, digest: str) -> bytes:
    escaped = name
    for plain, written in _ESCAPES:
        escaped = escaped.replace(plain, written)
    return b"%s%s  %s\n" % (b"\\" if escaped != name else b"", digest.encode("ascii"), escaped)


def manifest_of(data: bytes) -> dict[bytes, str]:
    """The names and digests in a manifest. Raises ValueError."""
    found: dict[bytes, str] = {}
    for text in data.split(b"\n")[:-1]:
        escaped = text.startswith(b"\\")
        digest, gap, name = (
            text[escaped : 64 + escaped],
            text[64 + escaped : 66 + escaped],
            text[66 + escaped :],
        )
        if len(digest) != 64 or gap != b"  " or not name:
            raise ValueError(f"not a line of a manifest: {text[:100]!r}")
        found[_unescaped(name) if escaped else name] = digest.decode("ascii")
    if data and not data.endswith(b"\n"):
        raise ValueError("a manifest that is cut off")
    return found


def _unescaped(name: bytes) -> bytes:
    pairs = {written: plain for plain, written in _ESCAPES}
    return re.sub(rb"\\[\\nr]", lambda found: pairs[found.group()], name)

"""What is kept beside the archives of applications: who deployed which version when, and what was active before.

What lives here: the two documents below `applications/__internal/NAME`, and their judgement. What must not: files.

    VERSION/deployment.json     one version: its archive, digest, sizes, who, when, from where
    active.json                 for each target, the versions that were active before, the last one last
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dasctl.core import areas, names
from dasctl.errors import FormatTooNew, RepositoryError
from dasctl.remote.paths import from_printable, printable

FORMAT = 1
RECORD = "deployment.json"
ACTIVE = "active.json"
MOST_BEFORE = 50  # versions of one target
_KEYS = {"origin": "from", "size": "bytes"}  # as the document has them
MOST_BYTES = 1 << 20  # of such a document


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One version as it was deployed. `origin` is where its archive came from, `archive` the file's name here.

    `size` is that of the archive in bytes, `unpacked` that of the files that came out of it, `files` how many with folders.
    """

    name: str
    version: str
    archive: str
    sha256: str
    size: int
    unpacked: int
    files: int
    when: float
    who: str
    host: str
    origin: str

    @property
    def path(self) -> bytes:
        """Where the archive is, below the domain's folder."""
        return areas.internal(self.name, self.version) + b"/" + from_printable(self.archive)

    def as_bytes(self) -> bytes:
        return _document({_KEYS.get(key, key): getattr(self, key) for key in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """Per target, the versions that were active before the one that is."""

    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def passed(self, was: Mapping[str, str | None], version: str, *, members: Iterable[str] = ()) -> Before:
        """These targets had `was` and now have `version`; a version without an archive is nothing to go back to.

        `members`: instances that follow their cluster from now on; what was said of them alone is forgotten.
        """
        found = dict(self.without({*members} - {*was}).versions)
        for target, old in was.items():
            if old is not None and old != version:
                found[target] = (*(v for v in found.get(target, ()) if v != version), old)[-MOST_BEFORE:]
        return replace(self, versions=found)

    def last(
        self, target: str, known: Iterable[str], now: str | None, cluster: str | None = None
    ) -> str | None:
        """The version that was active at a target before, and is still there; of an instance else that of its cluster."""
        there = set(known) - {now}
        for name in (target, cluster):
            for version in reversed(_until(self.versions.get(name or "", ()), now)):
                if version in there:
                    return version
        return None

    def back(self, target: str, version: str) -> Before:
        """The target went back to `version`: what came after it is forgotten, and so is what cannot be gone back to."""
        return replace(
            self, versions={**self.versions, target: _until(self.versions.get(target, ()), version)}
        )

    def without(self, targets: Iterable[str]) -> Before:
        """The same, with nothing of these."""
        gone = set(targets)
        return replace(
            self, versions={name: kept for name, kept in self.versions.items() if name not in gone}
        )

    def only(self, targets: Iterable[str]) -> Before:
        """Without targets that are no more."""
        known = set(targets)
        return replace(
            self, versions={name: kept for name, kept in self.versions.items() if name in known and kept}
        )

    def as_bytes(self) -> bytes:
        return _document({"before": {name: list(kept) for name, kept in self.versions.items()}})


def _until(kept: tuple[str, ...], version: str | None) -> tuple[str, ...]:
    """What was active before `version` was, the last time; all, where it was not."""
    if version not in kept:
        return kept
    return kept[: len(kept) - 1 - kept[::-1].index(version)]


def record_in(data: bytes, path: bytes) -> Record:
    """The record at `path`. Raises RepositoryError where it is none, FormatTooNew."""
    document = _read(data, path)
    try:
        values = {key: document[_KEYS.get(key, key)] for key in Record.__slots__}
        record = Record(**values)
        texts = (
            record.name,
            record.version,
            record.archive,
            record.sha256,
            record.who,
            record.host,
            record.origin,
        )
        numbers = (record.size, record.unpacked, record.files, record.when)
        if not all(type(text) is str for text in texts) or not all(type(n) in (int, float) for n in numbers):
            raise TypeError("a value of the wrong type")
        if names.fault_of_version(record.version) or "/" in record.archive or path != _place(record):
            raise ValueError("it belongs to something else")
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, str(error)) from error
    return record


def _place(record: Record) -> bytes:
    return areas.internal(record.name, record.version) + b"/" + RECORD.encode()


def before_in(data: bytes, path: bytes) -> Before:
    """What was active before. Raises RepositoryError, FormatTooNew."""
    before = _read(data, path).get("before")
    if not isinstance(before, dict) or not all(isinstance(kept, list) for kept in before.values()):
        raise _broken(path, "no lists of versions")
    return Before(versions={str(name): tuple(map(str, kept)) for name, kept in before.items()})


def _document(values: dict[str, Any]) -> bytes:
    return (json.dumps({"format": FORMAT, **values}, indent=1, sort_keys=True) + "\n").encode()


def _read(data: bytes, path: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "not JSON") from error
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise _broken(path, "no format")
    if document["format"] > FORMAT:
        raise FormatTooNew(
            f"{printable(path)} has format {document['format']}, and this dasctl knows {FORMAT}",
            hint="update dasctl",
        )
    return document


def _broken(path: bytes, why: str) -> RepositoryError:
    return RepositoryError(
        f"{printable(path)} is not what dasctl wrote: {why}",
        hint="bring it back from the history (dasctl diff, dasctl rollback), or move its folder away",
    )

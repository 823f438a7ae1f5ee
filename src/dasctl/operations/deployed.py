"""What is known of an application: its entry, its versions with their archives, what was active before.

What lives here: reading that from the repository as it was recorded. What must not: changing it (`deploying.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dasctl.core import areas
from dasctl.core.deployment_records import ACTIVE, MOST_BYTES, RECORD, Before, Record, before_in, record_in
from dasctl.core.domain import Application, Domain
from dasctl.core.faults import did_you_mean
from dasctl.core.targets import fold
from dasctl.errors import OperationFailed, RepositoryError, UsageError
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current
from dasctl.remote import manifest
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

PIECE = 1 << 18  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An application as the repository has it; `entry` None: there is none yet."""

    name: str
    entry: Application | None
    records: Mapping[str, Record] = field(default_factory=dict)
    before: Before = field(default_factory=Before)

    def with_digest(self, sha256: str) -> Record | None:
        """The version that has this archive; of several the one that was deployed last."""
        same = [record for record in self.records.values() if record.sha256 == sha256]
        return max(same, key=lambda record: record.when, default=None)

    def record(self, version: str) -> Record:
        """The record of a version. Raises UsageError where it has no archive."""
        if version not in self.records:
            there = f"there are: {', '.join(self.records)}" if self.records else "no archive of it is kept"
            raise UsageError(
                f"{self.name} has no version {version!r}{did_you_mean(version, self.records)}",
                hint=f"{there}; dasctl list-applications --long shows them",
            )
        return self.records[version]


def known(ctx: Context, now: Current, name: str) -> Known:
    """The application called `name`, which may not be there."""
    found = all_known(ctx, now.domain, now.slices.repository, [name])
    return found.get(name) or Known(name=name, entry=None)


def existing(ctx: Context, now: Current, name: str) -> Known:
    """The same; UsageError where there is none."""
    found = known(ctx, now, name)
    if found.entry is None:
        raise no_application(now.domain, name)
    return found


def no_application(domain: Domain, name: str) -> UsageError:
    choices = list(domain.applications)
    hint = (
        f"there are: {fold(choices)}"
        if choices
        else "there is none yet: dasctl deploy ARCHIVE --target TARGET"
    )
    return UsageError(f"no application named '{name}'{did_you_mean(name, choices)}", hint=hint)


def all_known(
    ctx: Context, domain: Domain, trees: Mapping[str, bytes], names: list[str] | None = None
) -> dict[str, Known]:
    """All applications, or those called `names`. `trees`: the repository's areas by digest."""
    documents: dict[str, list[bytes]] = {}
    for entry in tree_of(trees, areas.INTERNAL):
        _, _, rest = entry.path.partition(areas.INTERNAL + b"/")
        name = printable(rest).split("/")[0]
        if entry.kind == "f" and (names is None or name in names):
            documents.setdefault(name, []).append(entry.path)
    wanted = [name for name in {**domain.applications, **documents} if names is None or name in names]
    return {
        name: _known(ctx, name, domain.applications.get(name), documents.get(name, [])) for name in wanted
    }


def _known(ctx: Context, name: str, entry: Application | None, documents: list[bytes]) -> Known:
    folder = areas.internal(name)
    records = [
        record_in(_text(ctx, path), path)
        for path in documents
        if path.count(b"/") == folder.count(b"/") + 2 and path.endswith(b"/" + RECORD.encode())
    ]
    active = folder + b"/" + ACTIVE.encode()
    before = before_in(_text(ctx, active), active) if active in documents else Before()
    ordered = sorted(records, key=lambda record: record.when)
    return Known(
        name=name, entry=entry, records={record.version: record for record in ordered}, before=before
    )


def _text(ctx: Context, path: bytes) -> bytes:
    data = b""
    for piece in ctx.repository.read(path, piece=PIECE):
        data += piece
        if len(data) > MOST_BYTES:
            raise RepositoryError(f"{printable(path)} is not what dasctl wrote: it is too large")
    return data


def tree_of(trees: Mapping[str, bytes], area: bytes) -> Iterator[Entry]:
    """The entries of an area of the repository; `trees` as in `Slices.repository`."""
    for data in trees.values():
        first = data.split(b"\0", 1)[0]
        if first[:1] == b"d" and first.split(b" ", 5)[5] == area:
            yield from manifest.decode(data)


@contextmanager
def written(file: Path) -> Iterator[None]:
    """What is written beside, before anything changes: an error of the disk is told as one. Raises OperationFailed."""
    try:
        yield
    except OSError as error:
        raise OperationFailed(
            f"{file} cannot be written: {error.strerror}; nothing has been changed",
            hint="make room on the disk that holds the domain's folder, and run the command again",
        ) from error


def fetched(ctx: Context, record: Record, into: Path) -> Path:
    """The archive of a version, as a file in the folder `into`."""
    from hashlib import sha256

    file, digest = into / record.archive, sha256()
    with written(file), file.open("xb") as out:
        for piece in ctx.repository.read(record.path, piece=PIECE):
            out.write(piece)
            digest.update(piece)
    if digest.hexdigest() != record.sha256:
        raise RepositoryError(
            f"{printable(record.path)} is not the archive that was deployed: its SHA-256 is another",
            hint=f"deploy it once more: dasctl deploy ARCHIVE --name {record.name}:{record.version} --force",
        )
    return file

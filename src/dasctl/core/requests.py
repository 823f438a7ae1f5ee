"""Requests to a helper, built as plain values (docs/protocol.md).

What lives here: which parts and contents go along with a request, and its header. What must not: links, files.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dasctl.core.domain import Domain
from dasctl.core.slices import Part, Slice
from dasctl.core.stamps import Revision, Standing
from dasctl.remote import manifest, words

# Contents up to this sum, as they travel, go along with the first request, unasked. More would be a waste where the node
# turns out to stand elsewhere.
UNASKED_LIMIT = 8 << 20  # bytes
FEW = 16  # files: of so many it is asked one by one whether their content is new
BLOB_LEVEL = 1  # zlib: manifests are mostly digests, which higher levels do not shrink either


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What one instance shall become, and where the DAS believes it stands (`parts` are those of `expect`)."""

    slice: Slice
    expect: Standing | None
    parts: Mapping[str, str]  # name to digest, of what the instance has
    trusted: bool  # the node confirmed `expect` and `parts`: what differs from them may be sent unasked
    software: bool = False  # not an instance, but the node's releases


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """How instances are synchronised; regular expressions as in the protocol."""

    criterion: str
    deviations: str
    full: bool = False
    dry_run: bool = False
    together: bool = False  # nobody commits before all have staged
    all_changes: bool = False  # nodes name all changes, where they only stage, too
    mass_deletion: bool = False  # more than half of an instance's files may be deleted without a question
    agreed: frozenset[str] = (
        frozenset()
    )  # instances of which so much may be deleted, since somebody was asked
    keep: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by instance: files that are the node's to change once they were made
    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    excluded: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by instance: what domain.yaml leaves out, which stays on nodes even with `full`

    @property
    def partial(self) -> bool:
        """Some paths are left out, so the instance does not reach the revision as a whole."""
        return self.only is not None or self.exclude is not None

    @property
    def held(self) -> bool:
        """Nodes stage, and commit when they are told to."""
        return self.together and not self.dry_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A header and its body; `unasked` are the contents (SHA-256 to raw size) that shall follow at once, if what travels
    of them is not more than UNASKED_LIMIT. `ancestors`: what the contents that are new were probably made of.
    """

    header: dict[str, Any]
    body: bytes = b""
    unasked: Mapping[str, int] = field(default_factory=dict)
    ancestors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """How a part travels: `packed` against `base` (None: as a whole); `contents` are its new files, SHA-256 to size;
    `ancestors` the old contents, which whoever has `base` has, that some of them were probably made of.
    """

    base: str | None
    packed: bytes
    contents: Mapping[str, int]
    ancestors: Mapping[str, str]


class Deltas:
    """Deltas of parts, each made once for all nodes that stand at the same place. `kept_part` finds old parts by digest."""

    def __init__(self, kept_part: Callable[[str], bytes | None]) -> None:
        self._kept_part = kept_part
        self._made: dict[tuple[str | None, str], Delta] = {}
        self._sizes: dict[str, dict[str, int]] = {}

    def sizes(self, wanted: Slice, digests: Iterable[str]) -> dict[str, int]:
        """SHA-256 to raw size of those among `digests` that files of the slice have, in their order. Parts are looked at
        once, whoever has them."""
        asked = dict.fromkeys(digests)
        found: dict[str, int] = {}
        for part in wanted.parts:
            if part.digest not in self._sizes:
                self._sizes[part.digest] = dict(_new_contents(b"", part.data))
            own = self._sizes[part.digest]
            found.update((digest, own[digest]) for digest in asked.keys() & own.keys())
        return {digest: found[digest] for digest in asked if digest in found}

    def of(self, base: str | None, part: Part) -> Delta:
        """The delta from the part with digest `base` to `part`; the whole where `base` is None or no longer kept."""
        key = (base, part.digest)
        if key not in self._made:
            self._made[key] = self._make(base, part)
        return self._made[key]

    def _make(self, base: str | None, part: Part) -> Delta:
        from dasctl.core.ancestors import ancestors

        old = self._kept_part(base) if base is not None else None
        way = part.data if old is None else manifest.changes(old, part.data)
        contents = dict(_new_contents(old or b"", part.data))
        return Delta(
            base=base if old is not None else None,
            packed=zlib.compress(way, BLOB_LEVEL),
            contents=contents,
            ancestors=ancestors(old, part.data, contents) if old is not None else {},
        )


def envelope(op: str, domain: Domain, node: str, epoch: int, **more: Any) -> dict[str, Any]:
    """What every request carries."""
    return {
        "op": op, "dir": domain.node_dir(node), "domain": domain.domain.id, "name": domain.domain.name,
        "epoch": epoch, **more,
    }  # fmt: skip


def guarded(name: str, expect: Standing | None, config_id: int | None, **more: Any) -> dict[str, Any]:
    """An instance in a request that leads nowhere: start, stop, reload, remove."""
    return {
        "name": name, "expect": expect.as_wire() if expect else None, "lead": None, "config_id": config_id, **more,
    }  # fmt: skip


def sync(
    domain: Domain,
    node: str,
    wants: Sequence[Want],
    revision: Revision,
    options: SyncOptions,
    deltas: Deltas,
) -> Request:
    """The request that brings instances of `node` to `revision`; `deltas` is shared by the requests to all nodes."""
    blobs: dict[str, Delta] = {}
    unasked: dict[str, int] = {}
    made_of: dict[str, str] = {}
    for want in wants:
        for part in want.slice.parts:
            base = want.parts.get(part.name)
            if base == part.digest or part.digest in blobs:
                continue
            delta = deltas.of(base, part)
            blobs[part.digest] = delta
            made_of.update(delta.ancestors)
            is_new = base is None  # and so are its contents
            if want.trusted and (is_new or delta.base is not None):
                unasked.update(delta.contents)
    if options.dry_run or options.partial:
        unasked = {}
    header = envelope(
        words.SYNC, domain, node, revision.epoch,
        dry_run=options.dry_run,
        hold=options.held,
        changes="all" if options.all_changes or any(_reloads(domain, want) for want in wants) else "first",
        blobs=[
            {"part": digest, "base": delta.base, "size": len(delta.packed)} for digest, delta in blobs.items()
        ],
        instances=[_instance(want, revision, options) for want in wants],
    )  # fmt: skip
    body = b"".join(delta.packed for delta in blobs.values())
    return Request(header=header, body=body, unasked=unasked, ancestors=made_of)


def _reloads(domain: Domain, want: Want) -> bool:
    """Whether what changes decides about a reload: then no change may be left out of the answer."""
    if want.software:
        return False
    return domain.configs[domain.config_of(want.slice.instance)].reload is not None


def _new_contents(base: bytes, wanted: bytes) -> Iterable[tuple[str, int]]:
    """(SHA-256, size) of the files in `wanted` whose content `base` has nowhere."""
    start, base_end, end = manifest.trimmed(base, wanted)
    old = set(base[start:base_end].split(b"\0"))
    new = [line for line in wanted[start:end].split(b"\0") if line[:1] == b"f" and line not in old]
    is_known = _contents_of(base, len(new))
    for line in new:
        _, _, size, _, digest, _ = line.split(b" ", 5)
        if not is_known(digest):
            yield digest.decode("ascii"), int(size)


def _contents_of(base: bytes, questions: int) -> Callable[[bytes], bool]:
    """Whether a file of `base` has a content; for a few questions searching its bytes is quicker than its lines."""
    if questions > FEW:
        known = {line.split(b" ", 5)[4] for line in base.split(b"\0") if line[:1] == b"f"}
        return known.__contains__
    return lambda digest: _stands_in(base, digest)


def _stands_in(base: bytes, digest: bytes) -> bool:
    """Whether a line of a file has this content: a path or a link's target may look like it."""
    at = base.find(b" %s " % digest)
    while at >= 0:
        line = base[base.rfind(b"\0", 0, at) + 1 : at]
        if line[:1] == b"f" and line.count(b" ") == 3:
            return True
        at = base.find(b" %s " % digest, at + 1)
    return False


def _instance(want: Want, revision: Revision, options: SyncOptions) -> dict[str, Any]:
    return {
        "name": want.slice.instance,
        "expect": want.expect.as_wire() if want.expect else None,
        "lead": revision.as_lead(),
        "config_id": revision.config_id,
        "parts": [list(pair) for pair in want.slice.listing],
        "criterion": options.criterion,
        "deviations": options.deviations,
        "full": options.full,
        "only": list(options.only) if options.only is not None else None,
        "except": list(options.exclude) if options.exclude is not None else None,
        "excluded": list(options.excluded.get(want.slice.instance, ())) if options.full else None,
        "keep": list(options.keep[want.slice.instance]) if want.slice.instance in options.keep else None,
        "mass_deletion": options.mass_deletion or want.slice.instance in options.agreed,
        **({"software": True} if want.software else {}),
    }

"""Bundles for nodes that no link reaches: what goes into one, as plain values (docs/how-to/offline.md).

What lives here: which parts and contents, and the manifest. What must not: files, the zip (`adapters/bundles.py`), the
import (`remote/offline/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasctl.core import areas, requests
from dasctl.core.domain import Domain
from dasctl.core.requests import Deltas, SyncOptions, Want
from dasctl.core.slices import Area, Part, Scan, Slice, Slices
from dasctl.core.stamps import Revision
from dasctl.remote import manifest
from dasctl.remote.paths import printable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a bundle holds. `contents`: SHA-256 to bytes; `parts`: digest to what is stored, `bases`: against which part."""

    manifest: Mapping[str, Any]
    parts: Mapping[str, bytes]
    bases: Mapping[str, str | None]
    contents: Mapping[str, int]


def plan(
    domain: Domain,
    slices: Mapping[str, Slice],
    revision: Revision,
    options: SyncOptions,
    chain: Sequence[Revision],
    *,
    since: Revision | None = None,
    then: Mapping[str, Slice] | None = None,
) -> Plan:
    """The bundle that brings the instances of `slices` to `revision`.

    `chain`: the revisions that it may lead from. `since`: it leads from that one alone; `then` are the slices of that time,
    whose contents are left out (None: they are not known, and nothing is).
    """
    befores: dict[str, list[Part | None]] = {}  # by digest of a part: what each instance that needs it has
    wants: dict[str, Part] = {}
    contents: dict[str, int] = {}
    for name, wanted in slices.items():
        before = {part.name: part for part in then[name].parts} if then and name in then else {}
        known = {digest for part in before.values() for digest in files_of(part.data)}
        for part in wanted.parts:
            sizes = files_of(part.data)
            contents.update((digest, size) for digest, size in sizes.items() if digest not in known)
            wants[part.digest] = part
            befores.setdefault(part.digest, []).append(before.get(part.name))
    stored = {digest: _stored(part, befores[digest]) for digest, part in wants.items()}
    parts = {digest: way[0] for digest, way in stored.items() if way is not None}
    bases = {digest: way[1] for digest, way in stored.items() if way is not None}
    return Plan(
        manifest={
            "bundle": "dasctl", "format": FORMAT,
            "domain": {"id": domain.domain.id, "name": domain.domain.name},
            "lead": revision.as_lead(),
            "since": since.standing.as_wire() if since is not None else None,
            "chain": [entry.standing.as_wire() for entry in chain],
            "instances": [_instance(domain, wanted, revision, options) for wanted in slices.values()],
        },
        parts=parts, bases=bases, contents=contents,
    )  # fmt: skip


def _stored(part: Part, befores: Sequence[Part | None]) -> tuple[bytes, str | None] | None:
    """The bytes of a part, or the changes against what all that need it have; None where all have it already.

    An instance's `config` is small, and goes whole.
    """
    before = befores[0]
    if before is None or part.name == printable(areas.CONFIG):
        return part.data, None
    if any(other is None or other.digest != before.digest for other in befores):
        return part.data, None
    if before.digest == part.digest:
        return None
    changes = manifest.changes(before.data, part.data)
    return (changes, before.digest) if len(changes) < len(part.data) else (part.data, None)


def _instance(domain: Domain, wanted: Slice, revision: Revision, options: SyncOptions) -> dict[str, Any]:
    """The instance with the request that a DAS would send for it; where it stands is found out at the import."""
    node = domain.instances[wanted.instance].node
    want = Want(slice=wanted, expect=None, parts=dict(wanted.listing), trusted=False)
    header = requests.sync(domain, node, [want], revision, options, Deltas(lambda digest: None)).header
    (request,) = header["instances"]
    del request["lead"], request["expect"], request["config_id"]
    return {"node": node, "dir": domain.node_dir(node), "request": request}


def files_of(data: bytes) -> dict[str, int]:
    """SHA-256 (hex) to size of the files in a part's canonical bytes."""
    found = {}
    for line in data.split(b"\0"):
        if line[:2] == b"f ":
            _, _, size, _, digest, _ = line.split(b" ", 5)
            found[digest.decode("ascii")] = int(size)
    return found


def scan_of(parts: Mapping[str, bytes], domain_yaml: str) -> Scan:
    """The repository that these areas (digest to canonical bytes) were, with that `config/domain.yaml` (SHA-256)."""
    found = {}
    for digest, data in parts.items():
        path = data[: data.find(b"\0")].split(b" ", 5)[-1]
        if path != areas.DEFINITION:
            name = printable(path)
            found[name] = Area(name=name, data=data, digest=digest)
    return Scan(areas=found, domain_yaml=domain_yaml)


def listed(slices: Slices, names: Sequence[str]) -> dict[str, Slice]:
    """The slices of these instances, in their order."""
    return {name: slices.by_instance[name] for name in names}

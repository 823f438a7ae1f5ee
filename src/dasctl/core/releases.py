"""Releases of the servers' own software: how they are called, what a node has of them, how far two lie apart.

What lives here: names, parts and slices of releases, which old contents new ones were made of, the judgement of `max-skew`.
What must not: archives (`adapters/releases.py`), links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dasctl.core.ancestors import ancestors
from dasctl.core.definition import definition
from dasctl.core.domain import Domain
from dasctl.core.slices import Part, Slice
from dasctl.remote import words
from dasctl.remote.manifest import Entry, digest_of, encode, parse
from dasctl.remote.paths import from_printable, printable
from dasctl.remote.release import MARKS

ARCHIVES = (".tar.gz", ".tgz", ".zip")  # what is unpacked; any other file is a release of its own

ALWAYS_TRIED = 64 << 20  # bytes of a release: below, looking for deltas costs a few seconds at most
WORTH_TRYING = 0.3  # of the files two releases have in common where deltas of the others may pay


def is_archive(file: str) -> bool:
    """Whether a file with this name is unpacked."""
    return file.lower().endswith(ARCHIVES)


def part_name(version: str) -> str:
    """How the part of a release is called, and where it lies below the node's folder for software."""
    return f"{words.RELEASES}/{version}"


def version_in(name: str) -> str | None:
    """The release that a part is, or that the link `current` leads to; None where it is another path."""
    area, _, version = name.partition("/")
    return version if area == words.RELEASES and version else None


def link_to(domain: Domain, version: str) -> str:
    """What `current` says where a node has this release."""
    folder = domain.releases[version].folder if version in domain.releases else None
    return part_name(version) if folder is None else folder


def version_of(domain: Domain, link: str | None) -> str | None:
    """The release that `current` leads to; None where it leads to none that the domain knows."""
    if link is None:
        return None
    folders = (name for name, entry in domain.releases.items() if entry.folder == link)
    return version_in(link) or next(folders, None)


def part_of(version: str, entries: Iterable[Entry]) -> Part:
    """The part of a release, from entries with paths below its own folder (empty: the folder itself), in canonical order."""
    root = from_printable(part_name(version))
    data = encode(e._replace(path=root + b"/" + e.path if e.path else root) for e in entries)
    return Part(name=part_name(version), digest=digest_of(data), data=data)


def part_from(data: bytes) -> Part | None:
    """The part whose canonical bytes these are; None where they are none of a release."""
    name = printable(data[: max(data.find(b"\0"), 0)].split(b" ", 5)[-1])
    if version_in(name) is None:
        return None
    return Part(name=name, digest=digest_of(data), data=data)


def slice_of(parts: Iterable[Part]) -> Slice:
    """What a node shall have: these releases, and the folder that they lie in."""
    found = sorted(parts, key=lambda part: from_printable(part.name))
    if not found:
        return Slice(instance=words.SOFTWARE, parts=())
    # The folder needs a modtime that stays: that of the newest release whose manifest is known.
    newest = max((parse(part.data[: part.data.index(b"\0")]).mtime for part in found if part.data), default=0)
    data = encode([Entry(words.RELEASES.encode(), "d", 0o755, 0, newest, b"-")])
    above = Part(name=words.RELEASES, digest=digest_of(data), data=data)
    return Slice(instance=words.SOFTWARE, parts=(above, *found))


def made_of(new: Part, others: Sequence[Part]) -> dict[str, str]:
    """For contents of `new` the SHA-256 of the content that each was probably made of, in the first of `others` that helps.

    A new release of a JDK has its predecessor's files at the same paths. What has little in common with it, such as another
    major version, is not worth the search where it is large: with two JDKs of 300 MB that took half a minute for nothing.
    """
    fresh = _contents(new)
    for other in others:
        if sum(fresh.values()) > ALWAYS_TRIED and _in_common(fresh, other) < WORTH_TRYING:
            continue
        found = ancestors(_moved(other, new.name), new.data, fresh)
        if found:
            return found
    return {}


def _contents(part: Part) -> dict[str, int]:
    """SHA-256 to size of the files of a part."""
    found = (line.split(b" ", 5) for line in _lines(part.data) if line[:1] == b"f")
    return {fields[4].decode("ascii"): int(fields[2]) for fields in found}


def _in_common(fresh: Mapping[str, int], other: Part) -> float:
    """How many of the contents `other` has as well."""
    return len(fresh.keys() & _contents(other).keys()) / max(len(fresh), 1)


def _moved(part: Part, name: str) -> bytes:
    """The bytes of a part as if it were called `name`."""
    old, new = from_printable(part.name), from_printable(name)
    lines = (line.split(b" ", 5) for line in _lines(part.data))
    return b"".join(b" ".join([*head, new + path[len(old) :]]) + b"\0" for *head, path in lines)


def _lines(data: bytes) -> list[bytes]:
    return data[:-1].split(b"\0") if data else []


def nearest_first(domain: Domain, version: str, others: Iterable[str]) -> list[str]:
    """`others` by how near they are to `version` in the domain's order; what it does not know comes last."""
    order = list(domain.releases)
    place = order.index(version) if version in order else len(order)

    def distance(other: str) -> int:
        return abs(order.index(other) - place) if other in order else len(order) + 1

    return sorted(others, key=distance)


def names_release(domain: Domain, instance: str) -> bool:
    """Whether the instance's config names `${node.software}`: only then has a switch to do with its server."""
    own = definition(domain, instance)
    return any(mark.encode() in own for mark in MARKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs, or is about to, with a release."""

    instance: str
    node: str
    version: str


def too_far_apart(domain: Domain, running: Sequence[Server], starting: Sequence[Server]) -> dict[str, str]:
    """Of the instances `starting`, those that `max-skew` forbids, and why: too far from one of the same cluster that runs,
    or that is started before them. A release that the domain does not know is not judged.
    """
    most = domain.domain.max_skew
    if most is None:
        return {}
    admitted = list(running)
    refused: dict[str, str] = {}
    for server in starting:
        other = next((o for o in admitted if _is_too_far(domain, server, o, most)), None)
        if other is None:
            admitted.append(server)
        else:
            refused[server.instance] = (
                f"{server.instance} would run with release {server.version}, and {other.instance} on node {other.node} "
                f"runs with {other.version}: {_distance(domain, server, other)} releases apart, max-skew is {most}"
            )
    return refused


def _is_too_far(domain: Domain, one: Server, other: Server, most: int) -> bool:
    clusters = {domain.instances[server.instance].cluster for server in (one, other)}
    if len(clusters) > 1 or None in clusters:
        return False
    return {one.version, other.version} <= domain.releases.keys() and _distance(domain, one, other) > most


def _distance(domain: Domain, one: Server, other: Server) -> int:
    order = list(domain.releases)
    return abs(order.index(one.version) - order.index(other.version))


def known_parts(listing: Mapping[str, str], manifests: Mapping[str, bytes]) -> list[Part]:
    """The releases that a node says it has (name to digest) as parts; without bytes where only the node knows them."""
    return [
        Part(name=name, digest=digest, data=manifests.get(digest, b""))
        for name, digest in listing.items()
        if version_in(name) is not None
    ]

"""Slices: the part of the repository that each instance needs, computed once for all of them.

What lives here: which file goes where, and the digests of parts and of the whole. What must not: reading files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dasctl.core.domain import Domain
from dasctl.remote.manifest import Entry, slice_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanProblem:
    """Something in the repository that is not synchronised: a socket, a device, a link that leads out, unreadable."""

    path: bytes
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The repository as it was seen. `areas` maps `config`, `lib`, `docroot` and `applications/NAME` to their entries in
    canonical order, the area's own folder first, paths as in the repository; `applications` to its folder alone. Areas
    that do not exist are absent.
    """

    areas: Mapping[str, tuple[Entry, ...]]
    problems: tuple[ScanProblem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One tree of a slice in canonical bytes (`remote/manifest.py`), and their digest."""

    name: str
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one instance needs, as parts in order: config, applications, applications/NAME …, lib, docroot."""

    instance: str
    parts: tuple[Part, ...]

    @property
    def listing(self) -> tuple[tuple[str, str], ...]:
        """(name, digest) of each part, in order."""
        return tuple((part.name, part.digest) for part in self.parts)

    @property
    def digest(self) -> str:
        return slice_digest(self.listing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """All slices of a domain. `contents` maps the SHA-256 (hex) of each file to its path below the domain's folder;
    `state` is the digest of the whole repository and `domain.yaml`; `repository` the repository's own parts by digest.
    """

    by_instance: Mapping[str, Slice]
    contents: Mapping[str, bytes]
    state: str
    repository: Mapping[str, bytes]


def build(domain: Domain, scan: Scan, definitions: Mapping[str, Entry]) -> Slices:
    """The slice of every instance of `domain`.

    `definitions` holds, per instance, the entry of its own part of domain.yaml; the entry's path is where its content
    lies below the domain's folder, and it goes to the instance's `config/domain.yaml`.
    """
    raise NotImplementedError

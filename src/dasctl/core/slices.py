"""Slices: the part of the repository that each instance needs, computed once for all of them.

What lives here: which file goes where, and the digests of parts and of the whole (`overlays.py`: who wins in
`config`; `exclusion.py`: what is left out). What must not: reading files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from dasctl.core import areas
from dasctl.core.contents import Contents
from dasctl.core.deployments import Deployments
from dasctl.core.domain import Domain
from dasctl.core.exclusion import left_out_of_instances, scan_patterns
from dasctl.core.overlays import ConfigFolder, Layers, place_of
from dasctl.core.patterns import Ignore
from dasctl.remote.manifest import Entry, decode, digest_of, encode, order, slice_digest
from dasctl.remote.paths import from_printable


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanProblem:
    """Something in the repository that is not synchronised: a socket, a device; `refused`: a link that leads out."""

    path: bytes
    message: str
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One tree of the repository in canonical bytes (`remote/manifest.py`), and their digest.

    Paths are as in the repository.
    """

    name: str
    data: bytes
    digest: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Area:
        return cls(name=name, data=data, digest=digest_of(data))

    @property
    def entries(self) -> list[Entry]:
        """Its entries in canonical order, the area's own folder first. Decoded at each call."""
        return decode(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The repository as it was seen. `areas` maps `config`, `lib`, `docroot`, `applications/NAME`, its other versions
    (`applications/NAME~VERSION`) and `applications/__internal` to their trees, the area's own folder first; `applications`
    to its folder alone. Areas that do not exist are absent.
    `domain_yaml` is the SHA-256 (hex) of `config/domain.yaml`, which is in no area; `domain_file` is its entry: its text is
    kept with a revision.
    """

    areas: Mapping[str, Area]
    problems: tuple[ScanProblem, ...] = ()
    domain_yaml: str = ""
    domain_file: Entry | None = None

    @property
    def repository(self) -> dict[str, bytes]:
        """What a revision keeps, by digest: all areas, and `config/domain.yaml` as a part of its own."""
        kept = {area.digest: area.data for area in self.areas.values()}
        if self.domain_file is not None:
            data = encode([self.domain_file])
            kept[digest_of(data)] = data
        return kept

    @property
    def state(self) -> str:
        """The digest of all areas and `domain.yaml`."""
        listing = [(area.name, area.digest) for area in self.areas.values()]
        return slice_digest([*sorted(listing), ("config/domain.yaml", self.domain_yaml)])


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
    """All slices of a domain. `contents` maps the SHA-256 (hex) of each file to its path below the domain's
    folder; `state` is the digest of the whole repository and `domain.yaml`; `repository` the repository's own areas
    and `domain.yaml` by digest; `definitions` the SHA-256 of the instances' own parts of domain.yaml, and where they lie;
    `problems` all that is not synchronised: what the scan found, and what was found on the way here.
    """

    by_instance: Mapping[str, Slice]
    contents: Mapping[str, bytes]
    state: str
    repository: Mapping[str, bytes]
    definitions: Mapping[str, bytes] = field(default_factory=dict)
    problems: tuple[ScanProblem, ...] = ()


def build(domain: Domain, scan: Scan, definitions: Mapping[str, Entry]) -> Slices:
    """The slice of every instance of `domain`.

    `definitions` holds, per instance, the entry of its own part of domain.yaml; the entry's path is where its
    content lies below the domain's folder, and it goes to the instance's `config/domain.yaml`. Raises
    RepositoryError where a server's own config folder has a file that would go to the same place.
    """
    config = scan.areas.get("config")
    folder = ConfigFolder(config.entries if config else (), domain)
    configs, without = _ConfigParts(folder), _LeftOut(domain)
    shared = {name: Part(name=name, digest=area.digest, data=area.data) for name, area in scan.areas.items()}
    deployed, versions = Deployments(domain), _Versions(domain, shared)
    by_instance: dict[str, Slice] = {}
    for name in domain.instances:
        wanted = [
            shared.get("applications"), *(versions.part(*each) for each in deployed.of(name).items()),
            shared.get("lib"), shared.get("docroot"),
        ]  # fmt: skip
        out = without.ignored(domain.config_of(name))
        parts = [
            configs.part(name, definitions[name], out),
            *without.left([part for part in wanted if part is not None], out),
        ]
        by_instance[name] = Slice(instance=name, parts=tuple(parts))
    found = (
        ScanProblem(path=path, message=message, refused=refused) for path, message, refused in folder.problems
    )
    own = {entry.digest.decode("ascii"): entry.path for entry in definitions.values()}
    return Slices(
        by_instance=by_instance,
        contents=Contents([area.data for area in scan.areas.values()], own),
        definitions=own,
        state=scan.state,
        repository=scan.repository,
        problems=(*scan.problems, *found),
    )


def renamed(data: bytes, source: str, goes_as: str) -> bytes:
    """The canonical bytes of an area under another area's name; the order stays."""
    old, new = from_printable(source), from_printable(goes_as)
    heads = (line.split(b" ", 5) for line in data.split(b"\0")[:-1])
    lines = (b" ".join((*head, new + path[len(old) :])) for *head, path in heads)
    return b"\0".join((*lines, b""))


class _Versions:
    """Applications' parts under the names that they have on instances, made once for all of them.

    Patterns over `applications/NAME` hold for every version of it.
    """

    def __init__(self, domain: Domain, shared: Mapping[str, Part]) -> None:
        self._shared = shared
        self._patterns = scan_patterns(domain)
        self._made: dict[tuple[str, str], Part | None] = {}

    def part(self, goes_as: str, source: str) -> Part | None:
        """The part called `goes_as` from the repository's area `source`; None where nothing is there."""
        if goes_as == source:
            return self._shared.get(source)
        if (goes_as, source) not in self._made:
            self._made[goes_as, source] = self._renamed(goes_as, source)
        return self._made[goes_as, source]

    def _renamed(self, goes_as: str, source: str) -> Part | None:
        if source not in self._shared:
            return None
        data = renamed(self._shared[source].data, source, goes_as)
        if self._patterns:
            data = _without(data, Ignore(self._patterns))
        return Part(name=goes_as, digest=digest_of(data), data=data) if data else None


class _LeftOut:
    """Parts without what configs leave out, made once for all instances whose configs say the same."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._parts: dict[tuple[str, tuple[str, ...]], Part | None] = {}
        self._ignored: dict[tuple[str, ...], Ignore] = {}

    def ignored(self, config: str) -> Ignore | None:
        """What is left out of the instances with `config`; None where that is nothing."""
        patterns = tuple(rule.pattern for rule in left_out_of_instances(self._domain, config))
        if not patterns:
            return None
        if patterns not in self._ignored:
            self._ignored[patterns] = Ignore(patterns)
        return self._ignored[patterns]

    def left(self, parts: list[Part], ignore: Ignore | None) -> list[Part]:
        """What is left of `parts`; those whose own folder is left out are absent."""
        if ignore is None:
            return parts
        return [left for part in parts if (left := self._left(part, ignore)) is not None]

    def _left(self, part: Part, ignore: Ignore) -> Part | None:
        key = part.name, ignore.patterns
        if key not in self._parts:
            data = _without(part.data, ignore)
            self._parts[key] = Part(name=part.name, digest=digest_of(data), data=data) if data else None
        return self._parts[key]


def _without(data: bytes, ignore: Ignore) -> bytes:
    lines = [line for line in data.split(b"\0")[:-1] if not _is_out(line, ignore)]
    return b"\0".join((*lines, b""))


def _is_out(line: bytes, ignore: Ignore) -> bool:
    return ignore.matches(line.split(b" ", 5)[5], line[:1] == b"d")


class _ConfigParts:
    """The `config` parts, merged and hashed once for all instances that have the same layers and leave out the same.

    They differ in one line, the definition; what stands before it is hashed once, and the rest per instance.
    """

    def __init__(self, folder: ConfigFolder) -> None:
        self._folder = folder
        self._halves: dict[tuple[Layers, tuple[str, ...]], tuple[bytes, bytes, hashlib._Hash]] = {}

    def part(self, instance: str, definition: Entry, ignore: Ignore | None) -> Part:
        layers = self._folder.layers_of(instance)
        key = layers, ignore.patterns if ignore is not None else ()
        if key not in self._halves:
            self._halves[key] = self._split(layers, definition, ignore)
        before, after, hashed = self._halves[key]
        line = encode([definition._replace(path=areas.DEFINITION)])
        digest = hashed.copy()
        digest.update(line)
        digest.update(after)
        return Part(name="config", digest=digest.hexdigest(), data=b"".join((before, line, after)))

    def _split(
        self, layers: Layers, definition: Entry, ignore: Ignore | None
    ) -> tuple[bytes, bytes, hashlib._Hash]:
        merged = self._folder.merged(layers)
        if ignore is not None:
            merged = {
                path: entry for path, entry in merged.items() if not ignore.matches(path, entry.kind == "d")
            }
        # A folder that is not in the repository needs a modtime that stays: the definition's.
        merged.setdefault(areas.CONFIG, Entry(areas.CONFIG, "d", 0o755, 0, definition.mtime, b"-"))
        entries = sorted(merged.values(), key=place_of)
        place = order(areas.DEFINITION)
        cut = sum(1 for entry in entries if order(entry.path) < place)
        before, after = encode(entries[:cut]), encode(entries[cut:])
        return before, after, hashlib.sha256(before)

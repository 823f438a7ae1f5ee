"""Why a file of the repository goes where it goes, or nowhere: the answer to `explain`.

What lives here: the way of one path, from the repository to each instance or back. What must not: lines of domain.yaml,
words for the screen, what nodes have made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dasctl.core import areas
from dasctl.core.deployments import Deployments
from dasctl.core.domain import Domain
from dasctl.core.exclusion import (
    OWN_PART,
    Rule,
    kept_on_instances,
    left_out_of_instances,
    left_out_of_repository,
)
from dasctl.core.overlays import SUFFIX, ConfigFolder, Layers
from dasctl.core.patterns import deciding
from dasctl.core.slices import Scan
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import from_printable, printable

GIVEN = "given"
LEFT_OUT = "left out"
SHADOWED = "shadowed"
NOT_DEPLOYED = "not deployed"
REFUSED = "refused"
NOBODYS = "nobody's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What becomes of one path of the repository at one instance, or (`instance` None) at all of them.

    `goes_as` is its path there; `layer` the folder of the repository that it comes from; `rule` left it out, at the path
    `hit` (its own, or a folder's above it); `kept` leaves it to the node once it was made.
    """

    status: str
    path: bytes
    instance: str | None = None
    goes_as: bytes = b""
    layer: str = ""
    why: str = ""
    rule: Rule | None = None
    hit: bytes = b""
    kept: Rule | None = None
    entry: Entry | None = None


class Explainer:
    """The answers for one look at a repository."""

    def __init__(self, domain: Domain, scan: Scan) -> None:
        self._domain = domain
        self._scan = scan
        config = scan.areas.get("config")
        self._folder = ConfigFolder(config.entries if config else (), domain)
        self._problems = {problem.path: (problem.message, problem.refused) for problem in scan.problems}
        self._problems |= {path: (message, refused) for path, message, refused in self._folder.problems}
        deployments = Deployments(domain)
        self._deployed = {name: deployments.of(name) for name in domain.instances}
        self._entries: dict[str, dict[bytes, Entry]] = {}

    def of_repository(self, path: bytes, *, is_folder: bool) -> list[Finding]:
        """Where the path of the repository goes: a finding per instance, or one for all of them."""
        general = self._for_all(path, is_folder)
        if general is not None:
            return [general]
        return [self._at(name, path) for name in self._domain.instances]

    def of_instance(self, instance: str, path: bytes) -> list[Finding]:
        """What is behind a path of an instance: the file that it gets, and those that are shadowed there."""
        if path == OWN_PART.encode():
            why = "its own part, made by dasctl of the domain's"
            return [Finding(status=GIVEN, path=path, instance=instance, goes_as=path, why=why)]
        sources = [path]
        if path == areas.CONFIG or path.startswith(areas.CONFIG + b"/"):
            layers = reversed(self._folder.layers_of(instance))
            sources = [*(layer + path[len(areas.CONFIG) :] for layer in layers), path]
        else:
            sources = [self._source(instance, path)]
        found = [self._at(instance, source) for source in sources if self._entry(source) is not None]
        return found or [self._at(instance, path)]

    def paths(self) -> list[bytes]:
        """All that the scan has seen, in no order."""
        return [*self._problems, *(path for name in self._scan.areas for path in self._tree(name))]

    def _for_all(self, path: bytes, is_folder: bool) -> Finding | None:
        """What holds for all instances alike; None where they have to be looked at one by one."""
        if areas.is_whole_domain(path):
            why = "no instance gets it whole: each gets its own part, made by dasctl"
            return Finding(status=NOBODYS, path=path, why=why)
        if (path + b"/").startswith(areas.INTERNAL + b"/"):
            return Finding(status=NOBODYS, path=path, why="archives of what was deployed stay on the DAS")
        rules = left_out_of_repository(self._domain)
        hit = deciding([rule.pattern for rule in rules], path, is_folder)
        if hit is not None:
            return Finding(status=LEFT_OUT, path=path, rule=rules[hit[0]], hit=hit[1])
        if path in self._problems:
            message, refused = self._problems[path]
            return Finding(status=REFUSED if refused else NOBODYS, path=path, why=message)
        if self._area(path) is None:
            return Finding(status=NOBODYS, path=path, why=_no_area(path))
        overlay = b"/".join(path.split(b"/", 2)[:2])
        if overlay in self._problems:
            return Finding(status=NOBODYS, path=path, why=self._problems[overlay][0])
        return None

    def _at(self, instance: str, path: bytes) -> Finding:
        entry = self._entry(path)
        area = self._area(path)
        if area is None or entry is None:
            general = self._for_all(path, False)
            status, why = (
                (general.status, general.why) if general else (NOBODYS, "the repository has no such file")
            )
            return Finding(
                status=status, path=path, instance=instance, why=why,
                rule=general.rule if general else None, hit=general.hit if general else b"",
            )  # fmt: skip
        if area == "config":
            return self._in_config(instance, path, entry)
        if area.startswith("applications/"):
            return self._in_application(instance, path, area, entry)
        return self._given(instance, path, path, area, entry)

    def _in_application(self, instance: str, path: bytes, area: str, entry: Entry) -> Finding:
        """An application, or a version of one: an instance gets one of them under the application's name."""
        given = {source: goes_as for goes_as, source in self._deployed[instance].items()}
        if area not in given:
            other = self._deployed[instance].get(area.partition("~")[0])
            why = f"it gets {other}" if other is not None else ""
            return Finding(
                status=NOT_DEPLOYED, path=path, instance=instance, layer=area, why=why, entry=entry
            )
        goes_as = from_printable(given[area]) + path[len(from_printable(area)) :]
        rules = left_out_of_repository(self._domain)
        hit = deciding([rule.pattern for rule in rules], goes_as, entry.kind == "d")
        if hit is not None:
            return Finding(
                status=LEFT_OUT, path=path, instance=instance, layer=area, rule=rules[hit[0]], hit=hit[1],
                entry=entry,
            )  # fmt: skip
        return self._given(instance, path, goes_as, area, entry)

    def _source(self, instance: str, path: bytes) -> bytes:
        """Where a path of the instance comes from, unless it is in `config`."""
        area = "/".join(printable(path).split("/", 2)[:2])
        source = self._deployed[instance].get(area)
        return from_printable(source) + path[len(from_printable(area)) :] if source is not None else path

    def _in_config(self, instance: str, path: bytes, entry: Entry) -> Finding:
        layers = self._folder.layers_of(instance)
        overlay = self._folder.overlay_of(path)
        if overlay is not None and overlay not in layers:
            why = f"{printable(overlay)} is another's"
            return Finding(
                status=NOBODYS, path=path, instance=instance, layer=printable(overlay), why=why, entry=entry
            )
        goes_as = path if overlay is None else areas.CONFIG + path[len(overlay) :]
        layer = printable(overlay or areas.CONFIG)
        above = self._shadow(goes_as, overlay, layers)
        if above is not None and entry.kind != "d":
            return Finding(
                status=SHADOWED, path=path, instance=instance, goes_as=goes_as, layer=layer,
                why=f"{printable(above)} wins", entry=entry,
            )  # fmt: skip
        return self._given(instance, path, goes_as, layer, entry)

    def _shadow(self, goes_as: bytes, overlay: bytes | None, layers: Layers) -> bytes | None:
        """What of a higher layer takes the place of the file, or of a folder that it lies in."""
        higher = layers if overlay is None else layers[layers.index(overlay) + 1 :]
        names = goes_as.split(b"/")
        for layer in reversed(higher):
            for end in range(2, len(names) + 1):
                place = layer + b"/" + b"/".join(names[1:end])
                found = self._entry(place)
                if found is not None and (found.kind != "d" or end == len(names)):
                    return place
        return None

    def _given(self, instance: str, path: bytes, goes_as: bytes, layer: str, entry: Entry) -> Finding:
        config = self._domain.config_of(instance)
        rule, hit = _decided(left_out_of_instances(self._domain, config), goes_as, entry)
        if rule is not None:
            return Finding(
                status=LEFT_OUT, path=path, instance=instance, goes_as=goes_as, layer=layer, rule=rule, hit=hit,
                entry=entry,
            )  # fmt: skip
        kept = None
        if entry.kind != "d" and goes_as != OWN_PART.encode():
            kept, _ = _decided(kept_on_instances(self._domain, config), goes_as, entry)
        return Finding(
            status=GIVEN, path=path, instance=instance, goes_as=goes_as, layer=layer, kept=kept, entry=entry
        )

    def _area(self, path: bytes) -> str | None:
        """The area that the path lies in."""
        names = printable(path).split("/", 2)
        if names[0] == "applications":
            names = ["/".join(names[:2])]
        return names[0] if names[0] in self._scan.areas else None

    def _entry(self, path: bytes) -> Entry | None:
        area = self._area(path)
        return self._tree(area).get(path) if area is not None else None

    def _tree(self, area: str) -> dict[bytes, Entry]:
        if area not in self._entries:
            self._entries[area] = {entry.path: entry for entry in self._scan.areas[area].entries}
        return self._entries[area]


def _decided(rules: Sequence[Rule], path: bytes, entry: Entry) -> tuple[Rule | None, bytes]:
    hit = deciding([rule.pattern for rule in rules], path, entry.kind == "d")
    return (rules[hit[0]], hit[1]) if hit is not None else (None, b"")


def _no_area(path: bytes) -> str:
    names = printable(path).split("/")
    if names[0] == "applications" and len(names) > 1:
        return f"domain.yaml names no application {names[1]!r}"
    if names[0] == printable(areas.OWN_FOLDER):
        return "dasctl's own; it is never synchronised"
    return "it lies in no area: only config, applications, lib and docroot are synchronised"


def owners(domain: Domain, layer: str) -> str:
    """Whose a layer is: `cluster web`, `instance web1`, `all`."""
    name = layer.removeprefix("config/").removesuffix(SUFFIX)
    if not layer.startswith("config/"):
        return ""
    for kind, known in (("cluster", domain.clusters), ("instance", domain.instances)):
        if name in known:
            return f"{kind} {name}"
    return f"config {layer.removeprefix('config/')}"


def nearest_paths(path: bytes, known: Sequence[bytes], most: int = 3) -> Iterator[bytes]:
    """Those of `known` that are most like `path`: by their names, then as a whole."""
    import difflib

    name = printable(path.rpartition(b"/")[2])
    by_name: dict[str, list[bytes]] = {}
    for other in known:
        by_name.setdefault(printable(other.rpartition(b"/")[2]), []).append(other)
    close = difflib.get_close_matches(name, by_name, n=most)
    found = [other for each in close for other in by_name[each]]
    yield from sorted(found, key=lambda other: -_likeness(path, other))[:most]


def _likeness(path: bytes, other: bytes) -> float:
    import difflib

    return difflib.SequenceMatcher(None, printable(path), printable(other)).ratio()

"""Patterns of domain.yaml that match nothing: mistyped, most likely, or left from a file that is no more.

What lives here: which rules have nothing to match. What must not: walking the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dasctl.core import areas, slices
from dasctl.core.deployments import Deployments
from dasctl.core.domain import Domain
from dasctl.core.exclusion import Rule, kept_on_instances, left_out_of_instances, left_out_of_repository
from dasctl.core.faults import Fault
from dasctl.core.gitignore import pattern_of
from dasctl.core.overlays import ConfigFolder
from dasctl.core.slices import Scan
from dasctl.remote import manifest

# What editors, systems and tools leave behind: good that they are excluded, and good that there is none right now.
PRECAUTIONS = frozenset(
    (
        "*.swp", "*.swo", "*~", "*.bak", "*.orig", "*.rej", "*.tmp", ".git/", ".git", ".hg/", ".svn/", ".DS_Store",
        "Thumbs.db", "__pycache__/", "__pycache__", "*.pyc", ".idea/", ".vscode/",
    )
)  # fmt: skip


def idle(domain: Domain, scan: Scan, all_paths: Iterable[tuple[bytes, bool]]) -> tuple[Fault, ...]:
    """A warning for each pattern that matches nothing.

    `all_paths`: of the repository, excluded ones too, and whether each is a folder.
    """
    found = _idle(left_out_of_repository(domain), all_paths)
    shared: dict[tuple[str, ...], Rule] = {}
    busy: set[tuple[str, ...]] = set()
    for config in dict.fromkeys(domain.config_of(name) for name in domain.instances):
        there = list(_paths_of(domain, scan, config))
        found += _idle(left_out_of_instances(domain, config), there)
        rules = kept_on_instances(domain, config)
        idle_here = {rule.place for rule in _idle_rules(rules, there)}
        shared |= {rule.place: rule for rule in rules}
        busy |= {rule.place for rule in rules} - idle_here
    found += [_warning(rule) for place, rule in shared.items() if place not in busy]
    return tuple(found)


def _paths_of(domain: Domain, scan: Scan, config: str) -> Iterator[tuple[bytes, bool]]:
    """The paths of all instances with `config`, as if it left nothing out."""
    own = scan.areas.get("config")
    folder = ConfigFolder(own.entries if own else (), domain)
    names = [name for name in domain.instances if domain.config_of(name) == config]
    for layers in dict.fromkeys(folder.layers_of(name) for name in names):
        yield from ((path, entry.kind == "d") for path, entry in folder.merged(layers).items())
    yield areas.DEFINITION, False
    deployed = Deployments(domain)
    wanted = {(area, area) for area in ("applications", "lib", "docroot")}
    wanted |= {each for name in names for each in deployed.of(name).items()}
    for goes_as, source in wanted:
        if source in scan.areas:
            entries = manifest.decode(slices.renamed(scan.areas[source].data, source, goes_as))
            yield from ((entry.path, entry.kind == "d") for entry in entries)


def _idle(rules: Sequence[Rule], paths: Iterable[tuple[bytes, bool]]) -> list[Fault]:
    return [_warning(rule) for rule in _idle_rules(rules, paths)]


def _idle_rules(rules: Sequence[Rule], paths: Iterable[tuple[bytes, bool]]) -> list[Rule]:
    waiting = [
        (rule, re.compile(f"(?s){found.exact}".encode("latin-1")))
        for rule in rules
        if rule.written not in PRECAUTIONS and (found := pattern_of(rule.pattern)) is not None
    ]
    for path, is_folder in paths:
        if not waiting:
            break
        whole = path + b"/" if is_folder else path
        if any(regex.match(whole) for _, regex in waiting):
            waiting = [(rule, regex) for rule, regex in waiting if not regex.match(whole)]
    return [rule for rule, _ in waiting]


def _warning(rule: Rule) -> Fault:
    return Fault(path=rule.place, message=f"the pattern {rule.written!r} matches nothing")

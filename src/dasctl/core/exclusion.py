"""What is left out of the repository, of an instance, and what is the node's to change: domain.yaml's lists, put together.

What lives here: which lists hold where, in which order, and where each pattern stands. What must not: what a pattern
matches (`patterns.py`), walking.

As with git's files, a list that stands nearer to a path comes later, and the last pattern that matches decides:

    left out of the repository       domain, areas, applications; over paths of the repository
    left out of an instance          its config; over paths of the instance, after the overlays
    made once, then the node's       domain, areas, applications, its config; over paths of the instance
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dasctl.core.domain import Domain
from dasctl.core.patterns import regexes
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.core.faults import Path

OWN_PART = "config/domain.yaml"  # of an instance: dasctl's alone, whatever the patterns say


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One pattern: as it is written, the path of its place in domain.yaml, and the same over whole paths."""

    written: str
    place: Path
    pattern: str

    @property
    def holder(self) -> str:
        """Whose it is: `domain`, `areas/docroot`, `configs/web-config`."""
        return "/".join(self.place[:-2])


def left_out_of_repository(domain: Domain) -> tuple[Rule, ...]:
    """The rules over paths of the repository, in order."""
    return tuple(_shared(domain, "exclude"))


def scan_patterns(domain: Domain) -> list[str]:
    """Their patterns: what a scan leaves out."""
    return [rule.pattern for rule in left_out_of_repository(domain)]


def left_out_of_instances(domain: Domain, config: str) -> tuple[Rule, ...]:
    """The rules over paths of the instances that run with `config`, in order."""
    return tuple(_rules(domain.configs[config].exclude, ("configs", config, "exclude")))


def kept_on_instances(domain: Domain, config: str) -> tuple[Rule, ...]:
    """The rules of what is made once and then the node's, on the instances that run with `config`, in order."""
    own = _rules(domain.configs[config].keep, ("configs", config, "keep"))
    return (*_shared(domain, "keep"), *own)


def keep_of(domain: Domain, instance: str) -> tuple[str, ...]:
    """Regular expressions (docs/protocol.md) for the files of `instance` that are the node's once they were made."""
    return _sparing(_patterns(kept_on_instances(domain, domain.config_of(instance))))


def excluded_of(domain: Domain, instance: str) -> tuple[str, ...]:
    """Regular expressions for what is left out of `instance`: foreign files that `--full` lets be."""
    own = left_out_of_instances(domain, domain.config_of(instance))
    # Two lists, not one: what a config says brings nothing back that the repository does not give.
    return (*_regexes(_patterns(left_out_of_repository(domain))), *_regexes(_patterns(own)))


def by_instance(domain: Domain, of: Callable[[Domain, str], tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What `of` (keep_of, excluded_of) says of each instance; those of which it says nothing are absent."""
    first: dict[str, tuple[str, ...]] = {}  # by config: all its instances are alike
    for name in domain.instances:
        config = domain.config_of(name)
        if config not in first:
            first[config] = of(domain, name)
    said = {name: first[domain.config_of(name)] for name in domain.instances}
    return {name: regexes for name, regexes in said.items() if regexes}


def below(folder: str, pattern: str) -> str:
    """`pattern`, which begins at `folder`, as a pattern over whole paths."""
    sign, plain = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if not plain.strip() or plain.startswith("#"):
        return pattern  # says nothing
    # A slash within ties a pattern to its folder; one at the end only asks for a folder.
    tied = "/" in plain.rstrip(" ").removesuffix("/")
    return f"{sign}/{folder}/{plain.removeprefix('/') if tied else f'**/{plain}'}"


def _shared(domain: Domain, key: str) -> Iterator[Rule]:
    """The rules of domain, areas and applications under `key`, in order."""
    yield from _rules(getattr(domain.domain, key), ("domain", key))
    for area in words.AREAS:
        yield from _rules(getattr(getattr(domain.areas, area), key), ("areas", area, key), area)
    for name in sorted(domain.applications):
        given = getattr(domain.applications[name], key)
        yield from _rules(given, ("applications", name, key), f"applications/{name}")


def _rules(written: Sequence[str], place: Path, folder: str | None = None) -> Iterator[Rule]:
    for number, pattern in enumerate(written):
        whole = pattern if folder is None else below(folder, pattern)
        yield Rule(written=pattern, place=(*place, str(number)), pattern=whole)


def _patterns(rules: Iterable[Rule]) -> list[str]:
    return [rule.pattern for rule in rules]


def _regexes(patterns: Sequence[str]) -> tuple[str, ...]:
    return regexes(patterns) if patterns else ()


def _sparing(patterns: Sequence[str]) -> tuple[str, ...]:
    """Regular expressions that never find the instance's own part of domain.yaml."""
    spared = f"(?!{re.escape(OWN_PART)}\\Z)"
    return tuple(
        regex.replace("(?s)", f"(?s){spared}", 1) if re.search(regex, OWN_PART) else regex
        for regex in _regexes(patterns)
    )

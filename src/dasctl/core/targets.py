"""Targets: what a command acts on, from the words of an operator; and names folded for people.

What lives here: `domain`, clusters, instances, `node:NAME`, patterns `web[1-3,7]` and `web*`, lists `web1,web2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from dasctl.core.domain import Domain
from dasctl.errors import UsageError

DOMAIN = "domain"
NODE_PREFIX = "node:"
MAX_EXPANDED = 100_000  # names that one pattern may stand for

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?\Z")
_LAST_NUMBER = re.compile(r"(.*?)([0-9]+)([^0-9]*)\Z", re.DOTALL)


def resolve(domain: Domain, targets: Sequence[str]) -> tuple[str, ...]:
    """The instances that `targets` mean, in the file's order. UsageError for a word that means nothing.

    A cluster or a node without instances is none; a pattern with `*` that matches nothing is an error.
    """
    wanted: set[str] = set()
    for word in words_of(targets):
        wanted.update(_one(domain, word))
    return tuple(name for name in domain.instances if name in wanted)


def resolve_nodes(domain: Domain, names: Sequence[str]) -> tuple[str, ...]:
    """The nodes that `names` mean (patterns and lists allowed, `node:` optional), in the file's order; all for none."""
    if not names:
        return tuple(domain.nodes)
    wanted: set[str] = set()
    for word in words_of(names):
        wanted.update(_nodes(domain, word.removeprefix(NODE_PREFIX)))
    return tuple(name for name in domain.nodes if name in wanted)


def fold(names: Iterable[str]) -> str:
    """Names for people: `web[1-3,7]`, several stems separated by commas, zero padding kept (`n[01-12]`)."""
    alone: dict[tuple[str, str, int] | str, list[str]] = {}
    for name in dict.fromkeys(names):
        match = _LAST_NUMBER.match(name)
        # 007 and 7 are different names, so numbers fold together only where their padding agrees.
        key = (match[1], match[3], _padding(match[2])) if match else name
        alone.setdefault(key, []).append(match[2] if match else "")
    return ",".join(_folded(key, numbers) for key, numbers in _joined(alone).items())


def _padding(number: str) -> int:
    """The width of a number that begins with zeros, or 0."""
    return len(number) if number.startswith("0") and len(number) > 1 else 0


def _joined(
    groups: dict[tuple[str, str, int] | str, list[str]],
) -> dict[tuple[str, str, int] | str, list[str]]:
    """Groups in which 10 stands with 09: numbers without zeros join the padded ones of their own width."""
    for key in [key for key in groups if not isinstance(key, str) and key[2] == 0]:
        stem, tail, _ = key
        kept: list[str] = []
        for number in groups[key]:
            padded = groups.get((stem, tail, len(number))) if len(number) > 1 else None
            (kept if padded is None else padded).append(number)
        if kept:
            groups[key] = kept
        else:
            del groups[key]
    return groups


def _folded(key: tuple[str, str, int] | str, numbers: list[str]) -> str:
    if isinstance(key, str):
        return key
    stem, tail, width = key
    if len(numbers) == 1:
        return f"{stem}{numbers[0]}{tail}"
    values = sorted(int(number) for number in numbers)
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    text = ",".join(
        f"{first:0{width}d}" if first == last else f"{first:0{width}d}-{last:0{width}d}"
        for first, last in runs
    )
    return f"{stem}[{text}]{tail}"


def words_of(targets: Sequence[str]) -> list[str]:
    """The single words of lists; commas within brackets belong to a pattern."""
    found = []
    for target in targets:
        for word in re.split(r",(?![^\[]*\])", target):
            if not word.strip():
                raise UsageError(
                    f"an empty name in the target {target!r}", hint="write names with commas: web1,web[3-5]"
                )
            found.append(word.strip())
    return found


def _one(domain: Domain, word: str) -> list[str]:
    if word == DOMAIN:
        return list(domain.instances)
    if word.startswith(NODE_PREFIX):
        nodes = set(_nodes(domain, word.removeprefix(NODE_PREFIX)))
        return [name for name, entry in domain.instances.items() if entry.node in nodes]
    found: list[str] = []
    for name in _expanded(word):
        if _is_glob(name):
            found += _globbed(domain, name)
        elif name in domain.instances:
            found.append(name)
        elif name in domain.clusters:
            found += domain.members(name)
        else:
            raise _unknown(domain, name)
    return found


def _globbed(domain: Domain, pattern: str) -> list[str]:
    """Instances that match; clusters only where no instance does, so that `web*` never means more than it shows."""
    instances = [name for name in domain.instances if fnmatchcase(name, pattern)]
    if instances:
        return instances
    clusters = [name for name in domain.clusters if fnmatchcase(name, pattern)]
    if not clusters:
        raise UsageError(
            f"no instance or cluster matches {pattern!r}",
            hint="`dasctl list-instances domain --nostatus` shows the names",
        )
    return [name for cluster in clusters for name in domain.members(cluster)]


def _nodes(domain: Domain, word: str) -> list[str]:
    from dasctl.core.faults import did_you_mean

    found: list[str] = []
    for name in _expanded(word):
        matching = [n for n in domain.nodes if fnmatchcase(n, name)] if _is_glob(name) else [name]
        for node in matching:
            if node not in domain.nodes:
                raise UsageError(
                    f"no node named {node!r}{did_you_mean(node, domain.nodes)}",
                    hint="`dasctl list-nodes` shows the nodes",
                )
        if not matching:
            raise UsageError(f"no node matches {name!r}", hint="`dasctl list-nodes` shows the nodes")
        found += matching
    return found


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name


def _expanded(word: str) -> list[str]:
    """`web[1-3,7]` as its names; several brackets multiply."""
    names = [""]
    position = 0
    for match in _BRACKETS.finditer(word):
        numbers = _numbers(match[1], word)
        if len(names) * len(numbers) > MAX_EXPANDED:
            raise _too_many(word)
        before = word[position : match.start()]
        names = [f"{name}{before}{number}" for name in names for number in numbers]
        position = match.end()
    rest = word[position:]
    if "[" in word[position:] or "]" in rest:
        raise UsageError(f"the brackets of {word!r} do not match", hint="write web[1-3,7]")
    return [name + rest for name in names]


def _numbers(text: str, word: str) -> list[str]:
    """The numbers of `1-3,7`; zeros before the first one pad all of its range."""
    found: list[str] = []
    for piece in text.split(","):
        match = _RANGE.match(piece.strip())
        if match is None:
            raise UsageError(f"{piece!r} is not a range of numbers in {word!r}", hint="write web[1-3,7]")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"the range {piece!r} in {word!r} runs backwards", hint=f"write {last}-{first}")
        if last - first >= MAX_EXPANDED:
            raise _too_many(word)
        width = _padding(match[1])
        found += [f"{number:0{width}d}" for number in range(first, last + 1)]
    return found


def _too_many(word: str) -> UsageError:
    return UsageError(
        f"the pattern {word!r} stands for more than {MAX_EXPANDED} names",
        hint="name the cluster, or use web*",
    )


def _unknown(domain: Domain, name: str) -> UsageError:
    from dasctl.core.faults import did_you_mean

    if name in domain.nodes:
        return UsageError(
            f"no instance or cluster named {name!r}; did you mean '{NODE_PREFIX}{name}'?",
            hint=f"'{NODE_PREFIX}{name}' means all instances of the node {name!r}",
        )
    choices = [*domain.instances, *domain.clusters, DOMAIN]
    return UsageError(
        f"no instance or cluster named {name!r}{did_you_mean(name, choices)}",
        hint="`dasctl list-instances domain --nostatus` shows the names",
    )

"""Names from the domain for the shell's completion.

What lives here: reading them, fast and without judgement: a domain that is broken completes what it can, and nothing
is ever raised into somebody's prompt.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dasctl.cli.options import DOMAIN_VARIABLE


def nodes(incomplete: str) -> list[str]:
    return _beginning(incomplete, _names("nodes"))


def clusters(incomplete: str) -> list[str]:
    return _beginning(incomplete, _names("clusters"))


def instances(incomplete: str) -> list[str]:
    return _beginning(incomplete, _names("instances"))


def configs(incomplete: str) -> list[str]:
    return _beginning(incomplete, _names("configs"))


def applications(incomplete: str) -> list[str]:
    return _beginning(incomplete, _names("applications"))


def targets(incomplete: str) -> list[str]:
    """All that a target can be; behind a comma, the next one of a list."""
    if _behind_colon(os.environ):
        return _beginning(incomplete, _names("nodes"))
    known = [
        "domain",
        *_names("clusters"),
        *_names("instances"),
        *(f"node:{name}" for name in _names("nodes")),
    ]
    done, comma, last = incomplete.rpartition(",")
    return [f"{done}{comma}{name}" for name in _beginning(last, known)]


def dotted(incomplete: str) -> list[str]:
    """Dotted names, also those of keys that have no value yet."""
    try:
        from dasctl.core.dotted import names_in

        return _beginning(incomplete, list(names_in(_domain())))
    except Exception:  # as in _domain
        return []


def assignments(incomplete: str) -> list[str]:
    """Names for `NAME=VALUE`; nothing for the value, which bash takes for a word of its own."""
    words, number = _line(os.environ)
    return [] if "=" in words[max(0, number - 1) : number + 1] else dotted(incomplete)


def _behind_colon(environment: Mapping[str, str]) -> bool:
    """Whether this is what follows `node:` in bash, which takes `node`, `:` and the rest for three words."""
    words, number = _line(environment)
    return words[:number][-2:] == ["node", ":"]


def _line(environment: Mapping[str, str]) -> tuple[list[str], int]:
    """The words that bash sees, and which of them is being completed; none elsewhere."""
    words = environment.get("COMP_WORDS", "").split(" ")
    number = environment.get("COMP_CWORD", "")
    return (words, int(number)) if number.isdigit() and int(number) < len(words) else ([], 0)


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _names(section: str) -> list[str]:
    entries = _domain().get(section)
    return [str(name) for name in entries] if isinstance(entries, dict) else []


def _domain() -> dict[str, Any]:
    try:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for folder in _folders(os.environ):
            file = folder / "config" / "domain.yaml"
            if file.is_file():
                data = yaml.load(file.read_bytes(), Loader=loader)
                return data if isinstance(data, dict) else {}
    except Exception:  # whatever it is, a prompt is no place to hear of it
        pass
    return {}


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    given = _option_before(environment) or environment.get(DOMAIN_VARIABLE)
    if given:
        yield Path(given).expanduser()
        return
    here = Path.cwd()
    yield here
    yield from here.parents


def _option_before(environment: Mapping[str, str]) -> str | None:
    """The value of `--domain` on the line being completed (bash: COMP_WORDS; zsh, fish: _TYPER_COMPLETE_ARGS)."""
    line = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--domain":
            return following or None
        if word.startswith("--domain="):
            return word.removeprefix("--domain=")
    return None

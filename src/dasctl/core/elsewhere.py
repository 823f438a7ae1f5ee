"""Command lines that run elsewhere: where (`--das`), and on whose behalf.

What lives here: the values, and their forms as texts. What must not: connections, files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from dasctl.core.coordinates import DEFAULT_COMMAND, Das
from dasctl.errors import UsageError

MARKER = b"DASCTL-CALLER-1"
CALLER_VARIABLE = "DASCTL_CALLER"  # set for a command that runs on behalf of somebody elsewhere
FORM = "it reads USER@HOST:DIR or USER@HOST:PORT:DIR; an IPv6 address stands in brackets"
CURRENT = "current"
LONGEST_NAME = 128  # characters of a caller

_Thing = TypeVar("_Thing")

_PLACE = re.compile(r"(?P<place>[^:\[\]]*(?:\[[^\]]*\])?)(?::(?P<port>[0-9]{1,5}))?:(?P<dir>.+)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A domain on another machine. `command` is how dasctl is called by the login shell there."""

    das: Das
    dir: str
    command: str = DEFAULT_COMMAND

    @classmethod
    def parsed(cls, text: str, command: str = DEFAULT_COMMAND) -> Place:
        """`[USER@]HOST[:PORT]:DIR`; DIR is any folder's name, from the home of the login on. Raises UsageError."""
        found = _PLACE.match(text)
        if found is None or not found["place"] or "\0" in text:
            raise UsageError(f"not a domain on another machine: {text!r}", hint=FORM)
        port = f":{found['port']}" if found["port"] else ""
        try:
            das = Das.parsed(found["place"] + port)
        except UsageError as error:
            raise UsageError(f"not a domain on another machine: {text!r}", hint=FORM) from error
        return cls(das=das, dir=found["dir"], command=command)

    def __str__(self) -> str:
        return f"{self.das}:{self.dir}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asked for a command, on which machine, in which words; `files`: paths here to the caller's own words for them."""

    who: str
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> str:
        return json.dumps({"who": self.who, "command": self.command, "files": dict(self.files)})

    def via(self, login: str) -> str:
        """How the history names the caller: what is claimed, and who vouches for it."""
        return f"{self.who} via {login}"

    def told(self, text: str) -> str:
        """`text` with the caller's words for the files that were carried here for this command."""
        for path, words in self.files.items():
            text = text.replace(path, words)
        return text


def caller_of(text: str | None) -> Caller | None:
    """The caller in the environment's variable; None where there is none, or nothing that can be read."""
    try:
        document = json.loads(text or "null")
        if not isinstance(document, dict):
            return None
        files = {str(path): str(words) for path, words in document["files"].items()}
        return Caller(who=name_of(document["who"]), command=str(document["command"]), files=files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def name_of(text: Any) -> str:
    """What somebody calls himself, fit for a line of the history."""
    shown = "".join(c if c.isprintable() and c != "\\" else "?" for c in str(text))
    return shown[:LONGEST_NAME] or "somebody"


def retold(value: Any, caller: Caller) -> Any:
    """Values, lists, mappings and texts with the caller's own words for his files."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{each.name: retold(getattr(value, each.name), caller) for each in fields(value)}
        )
    match value:
        case str():
            return caller.told(value)
        case dict():
            return {key: retold(inner, caller) for key, inner in value.items()}
        case list():
            return [retold(inner, caller) for inner in value]
        case tuple():
            return tuple(retold(inner, caller) for inner in value)
        case _:
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedFile:
    """A file of the caller's machine. `way`: "up" there, or back from there, a "file" or what is put into a "folder"; or
    into the folder "current" in which the command runs.

    `words`: how the caller wrote it; `name`: what it is called there, behind a folder that is made for it.
    """

    way: str
    path: str
    words: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command line for a DAS on another machine: words, of which a pair (prefix, index) is one of `files`."""

    words: tuple[str | tuple[str, int], ...]
    caller: Caller
    files: tuple[CarriedFile, ...] = ()
    quiet: bool = False


def numbered(things: Sequence[_Thing], number: int) -> _Thing:
    """The thing with that number, counted from 0. Raises ValueError."""
    if not 0 <= number < len(things):
        raise ValueError(f"there is no number {number}")
    return things[number]


def words_of(given: Any, paths: list[str]) -> list[str]:
    """The words of an order as it arrived, with the paths that its files got. Raises ValueError."""
    if not isinstance(given, list):
        raise ValueError("no words")
    words = []
    for word in given:
        if isinstance(word, str):
            words.append(word)
        elif isinstance(word, list) and len(word) == 2 and isinstance(word[0], str) and type(word[1]) is int:
            words.append(word[0] + numbered(paths, word[1]))
        else:
            raise ValueError(f"a word that is none: {word!r:.80}")
    if any("\0" in word for word in words):
        raise ValueError("a word with a NUL in it")
    return words

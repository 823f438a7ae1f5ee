"""Single values of `domain.yaml`: what a type cannot say of one of them alone.

What lives here: faults of one value, at its path. What must not: what entries mean to each other (`validate.py`).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from dasctl.core import names, patterns
from dasctl.core.domain import Application, Config, Duration, Patterns, Scalar, Settings
from dasctl.core.durations import seconds
from dasctl.core.faults import Fault, Path
from dasctl.core.properties import BUILT_IN, PropertyError, scalar_text, shell_pieces, text_pieces

MAX_PORT = 65535


def why_no_dir(text: str) -> str | None:
    if not (text.startswith(("/", "~/")) and text.strip("/~")):
        return f"{text!r} is neither absolute nor begins with '~/'"
    if ".." in text.split("/"):
        return f"{text!r} contains '..'"
    if any(ord(char) < 32 for char in text):
        return f"{text!r} contains a control character"
    return None


def name(name: str, path: Path) -> Iterator[Fault]:
    if (why := names.fault_of(name)) is not None:
        yield Fault(path=path, message=why)


def word(text: str, path: Path) -> Iterator[Fault]:
    """A host or user: handed to SSH, so nothing that could be an option or two words."""
    if not text or text.startswith("-") or any(char.isspace() or ord(char) < 32 for char in text):
        yield Fault(path=path, message=f"{text!r} is not one word that can be a {path[-1]}")


def properties_of(properties: Mapping[str, Scalar], path: Path) -> Iterator[Fault]:
    for name, value in properties.items():
        if not names.is_property(name):
            yield Fault(
                path=(*path, name),
                message=f"{name!r} is not the name of a property: letters, digits, '_', '-', '.'",
            )
        elif name in BUILT_IN:
            yield Fault(path=(*path, name), message=f"{name!r} is a built-in name")
        yield from template(scalar_text(value), (*path, name), is_command=False)


def template(template: str, path: Path, *, is_command: bool) -> Iterator[Fault]:
    if "\0" in template:
        yield Fault(path=path, message="a NUL character")
    try:
        for _ in shell_pieces(template) if is_command else text_pieces(template):
            pass
    except PropertyError as error:
        yield Fault(path=path, message=error.message)


def patterns_in(given: Sequence[str], path: Path) -> Iterator[Fault]:
    for number, pattern in enumerate(given):
        if (why := patterns.fault_of(pattern)) is not None:
            yield Fault(path=(*path, str(number)), message=why)


def chosen(entry: Settings | Patterns | Config | Application, path: Path) -> Iterator[Fault]:
    """The patterns of whatever leaves files out, or leaves them to the node."""
    yield from patterns_in(entry.exclude, (*path, "exclude"))
    yield from patterns_in(entry.keep, (*path, "keep"))


def duration(value: Duration, path: Path) -> Iterator[Fault]:
    try:
        seconds(value)
    except ValueError as error:
        yield Fault(path=path, message=str(error))


def why_no_regex(text: str) -> str | None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{text!r} is not a regular expression: {error}"
    return None


def why_no_url(text: str) -> str | None:
    try:
        url = urlsplit(text)
        fits = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits or any(char.isspace() for char in text):
        return f"{text!r} is not a URL: write http://HOST:PORT/PATH"
    return None


def why_no_address(text: str) -> str | None:
    host, _, port = text.rpartition(":")
    fits = port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= MAX_PORT
    if not fits or host.startswith("-") or any(char.isspace() for char in text) or text.startswith(":"):
        return f"{text!r} is not an address: write PORT or HOST:PORT"
    return None


def signals() -> Iterable[str]:
    return [entry.name.removeprefix("SIG") for entry in signal.Signals]

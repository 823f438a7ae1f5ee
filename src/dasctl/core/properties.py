"""Properties: what `${name}` stands for in each instance, and how values get into a shell's command unharmed.

What lives here: the order instance > cluster > config > domain, the built-in names, nesting, quoting. What must not:
judgement of entries (`validate.py`), the file.

A template is text with `${name}`; `$${` is a literal `${`. The folders `instance.dir`, `node.dir` and `node.software` are
known to the node alone, so they stay in values as `${instance.dir}` and become the shell's own variables in commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from dasctl.core.domain import Domain, Scalar
from dasctl.core.names import is_property

if TYPE_CHECKING:
    from dasctl.core.faults import Path
    from dasctl.core.here_documents import Body

# Built-in names that the node fills in, and the variables in which its shell finds them.
FOLDERS = {
    "instance.dir": "DASCTL_INSTANCE_DIR", "node.dir": "DASCTL_NODE_DIR", "node.software": "DASCTL_NODE_SOFTWARE",
}  # fmt: skip
BUILT_IN = (
    "domain.name", "domain.id", "node.name", "node.host", "node.dir", "node.software",
    "cluster.name", "config.name", "instance.name", "instance.dir",
)  # fmt: skip


class PropertyError(Exception):
    """A template that cannot be resolved; `message` says why. `path` is where, if that is not the template itself."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class Folder:
    """A part of a value that only the node knows: `name` is one of FOLDERS."""

    name: str


Value = tuple[str | Folder, ...]
LONGEST_VALUE = 100_000  # characters; a shell takes no longer argument (MAX_ARG_STRLEN of Linux is 128 KiB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What names mean in one instance. `places` tells where each property was written."""

    given: Mapping[str, str]
    places: Mapping[str, Path]
    built_in: Mapping[str, Value]
    _known: dict[str, Value] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """What `name` stands for. PropertyError where it is unknown or stands for itself."""
        return self._value(name, ())

    def text(self, template: str) -> str:
        """`template` with values as they are; folders stay as `${instance.dir}`."""
        return as_text(self._filled(template, ()))

    def command(self, template: str) -> str:
        """`template` as a command for /bin/sh, every value quoted for the place where it stands."""
        pieces = []
        for piece in shell_pieces(template):
            if isinstance(piece, Reference):
                pieces.append(quoted(self._value(piece.name, ()), piece.context))
            else:
                pieces.append(piece)
        return "".join(pieces)

    def unknown(self, template: str, *, is_command: bool) -> Iterator[PropertyError]:
        """An error for each reference of `template` that cannot be resolved; PropertyError where one is malformed."""
        for piece in shell_pieces(template) if is_command else text_pieces(template):
            if isinstance(piece, Reference):
                try:
                    quoted(self._value(piece.name, ()), piece.context)
                except PropertyError as error:
                    yield error

    def texts(self) -> dict[str, str]:
        """All properties with their values."""
        return {name: as_text(self.value(name)) for name in self.given}

    def _value(self, name: str, on_the_way: tuple[str, ...]) -> Value:
        if name in self.built_in:
            return self.built_in[name]
        if name in self._known:
            return self._known[name]
        if name not in self.given:
            from dasctl.core.faults import did_you_mean

            choices = [*self.given, *self.built_in]
            raise PropertyError(f"no property named {name!r}{did_you_mean(name, choices)}")
        if name in on_the_way:
            cycle = " -> ".join([*on_the_way[on_the_way.index(name) :], name])
            raise PropertyError(f"the property {name!r} stands for itself: {cycle}", self.places[name])
        try:
            value = self._filled(self.given[name], (*on_the_way, name))
        except PropertyError as error:
            raise PropertyError(error.message, error.path or self.places[name]) from None
        except RecursionError:
            raise PropertyError("properties are nested too deeply", self.places[name]) from None
        self._known[name] = value
        return value

    def _filled(self, template: str, on_the_way: tuple[str, ...]) -> Value:
        filled: list[str | Folder] = []
        size = 0
        for piece in text_pieces(template):
            more = self._value(piece.name, on_the_way) if isinstance(piece, Reference) else (piece,)
            size += sum(len(part) for part in more if isinstance(part, str))
            if size > LONGEST_VALUE:  # properties made of properties grow without bound in a few lines
                raise PropertyError(f"a value of more than {LONGEST_VALUE:,} characters")
            filled += more
        return _joined(filled)


def scope(domain: Domain, instance: str) -> Scope:
    """The scope of `instance`, whose references must hold."""
    entry = domain.instances[instance]
    config = domain.config_of(instance)
    given: dict[str, str] = {}
    places: dict[str, Path] = {}
    layers: list[tuple[Path, Mapping[str, Scalar]]] = [
        (("domain",), domain.domain.properties),
        (("configs", config), domain.configs[config].properties),
    ]
    if entry.cluster is not None:
        layers.append((("clusters", entry.cluster), domain.clusters[entry.cluster].properties))
    layers.append((("instances", instance), entry.properties))
    for path, properties in layers:
        for name, value in properties.items():
            given[name] = scalar_text(value)
            places[name] = (*path, "properties", name)
    built_in: dict[str, Value] = {
        "domain.name": (domain.domain.name,),
        "domain.id": (domain.domain.id,),
        "node.name": (entry.node,),
        "node.host": (domain.nodes[entry.node].host,),
        "node.dir": (Folder("node.dir"),),
        "node.software": (Folder("node.software"),),
        "cluster.name": (entry.cluster or "",),
        "config.name": (config,),
        "instance.name": (instance,),
        "instance.dir": (Folder("instance.dir"),),
    }
    return Scope(given=given, places=places, built_in=built_in)


def scalar_text(value: Scalar) -> str:
    """A scalar of `domain.yaml` as the text that a server gets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def as_text(value: Value) -> str:
    """A value as text; folders as `${instance.dir}`."""
    return "".join(f"${{{part.name}}}" if isinstance(part, Folder) else part for part in value)


def _joined(parts: list[str | Folder]) -> Value:
    """The parts with neighbouring texts made one."""
    joined: list[str | Folder] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


# Templates.


class Context(Enum):
    """Where in a command a value stands."""

    BARE = "outside quotes"
    DOUBLE = "inside double quotes"
    SINGLE = "inside single quotes"
    HERE = "in a here-document"
    HERE_LITERAL = "in a here-document whose delimiter is quoted"


@dataclass(frozen=True, slots=True)
class Reference:
    """A `${name}` in a template, and where it stands."""

    name: str
    context: Context = Context.BARE


_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")


def text_pieces(template: str) -> Iterator[str | Reference]:
    """A template cut into literal texts and references. PropertyError where a reference is malformed."""
    position = 0
    for match in _REFERENCE.finditer(template):
        if match.start() > position:
            yield template[position : match.start()]
        position = match.end()
        yield "${" if match[0] == "$${" else _reference(match, Context.BARE)
    if position < len(template):
        yield template[position:]


def shell_pieces(template: str) -> Iterator[str | Reference]:
    """The same for a command: each reference knows how it is quoted. What a backslash or a comment hides is literal."""
    # The contexts around the place, outermost first: "'", '"', "(" for $( … ) and ( … ), "`"; empty means outside.
    stack: list[str] = []
    bodies: list[Body] = []
    position = start = 0
    while position < len(template):
        inside = stack[-1] if stack else ""
        body = next((body for body in bodies if body.start <= position < body.end), None)
        char = template[position]
        if char == "$" and (match := _REFERENCE.match(template, position)) is not None:
            if position > start:
                yield template[start:position]
            start = position = match.end()
            if match[0] == "$${":
                yield "${"
                continue
            if "`" in stack:
                raise PropertyError(f"{match[0]} stands inside backquotes: write $(…) instead")
            yield _reference(match, _context(inside, body))
            continue
        if body is not None:
            position += 2 if char == "\\" and not body.literal else 1
        elif inside == "'":
            position += 1
            if char == "'":
                stack.pop()
        elif char == "\\":
            position += 2
        elif inside == '"':
            position += _in_double_quotes(template, position, stack)
        elif char == "#" and (position == 0 or template[position - 1] in " \t\n;&|("):
            end = template.find("\n", position)
            position = len(template) if end < 0 else end
        elif template.startswith("<<", position):
            from dasctl.core.here_documents import body_of

            found = body_of(template, position, bodies[-1] if bodies else None)
            bodies += [] if found is None else [found]
            position += 3 if template.startswith("<<<", position) else 2
        else:
            position += 1
            _outside(char, stack)
    if start < len(template):
        yield template[start:]


_CONTEXTS = {"'": Context.SINGLE, '"': Context.DOUBLE}


def _context(inside: str, body: Body | None) -> Context:
    if body is not None:
        return Context.HERE_LITERAL if body.literal else Context.HERE
    return _CONTEXTS.get(inside, Context.BARE)


def _in_double_quotes(template: str, position: int, stack: list[str]) -> int:
    """Take what stands at `position` between double quotes; how many characters that is."""
    if template.startswith("$(", position):
        stack.append("(")
        return 2
    if template[position] == '"':
        stack.pop()
    elif template[position] == "`":
        _outside("`", stack)
    return 1


def _outside(char: str, stack: list[str]) -> None:
    """Take one character that is not between quotes."""
    if char == "`" and "`" in stack:
        while stack.pop() != "`":
            pass
    elif char in "'\"(`":
        stack.append(char)
    elif char == ")" and stack and stack[-1] == "(":
        stack.pop()


def _reference(match: re.Match[str], context: Context) -> Reference:
    name = match[1]
    if not match[2]:
        raise PropertyError(f"{match[0][:40]!r} is not closed: write ${{name}}, or $${{ for a literal ${{")
    if not is_property(name):
        raise PropertyError(
            f"'${{{name}}}' is not the name of a property; write $${{{name}}} if the shell shall see ${{{name}}}"
        )
    return Reference(name, context)


# Quoting.


def quoted(value: Value, context: Context) -> str:
    """A value as it must stand in a command so that /bin/sh sees exactly the value, as one word's part."""
    match context:
        case Context.BARE:
            return "".join(_bare(part) for part in value) or "''"
        case Context.DOUBLE:
            return "".join(_double(part) for part in value)
        case Context.SINGLE:
            return "".join(_single(part) for part in value)
        case Context.HERE | Context.HERE_LITERAL:
            return "".join(_here(part, context) for part in value)


def _bare(part: str | Folder) -> str:
    if isinstance(part, Folder):
        return f'"${FOLDERS[part.name]}"'
    return shlex.quote(part) if part else ""


def _double(part: str | Folder) -> str:
    if isinstance(part, Folder):
        return f"${{{FOLDERS[part.name]}}}"
    return re.sub(r'([\\"$`])', r"\\\1", part)


def _single(part: str | Folder) -> str:
    if isinstance(part, Folder):
        return f"'\"${FOLDERS[part.name]}\"'"
    return part.replace("'", "'\\''")


def _here(part: str | Folder, context: Context) -> str:
    if isinstance(part, Folder):
        if context is Context.HERE_LITERAL:
            raise PropertyError(
                f"only the node knows ${{{part.name}}}: take the quotes off the delimiter behind <<"
            )
        return f"${{{FOLDERS[part.name]}}}"
    if "\n" in part:
        raise PropertyError("a value of several lines cannot stand in a here-document")
    return part if context is Context.HERE_LITERAL else re.sub(r"([\\$`])", r"\\\1", part)

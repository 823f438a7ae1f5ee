"""The text of `domain.yaml` as plain data, with the line of each path, and as a valid Domain with all faults at once.

What lives here: PyYAML, and what it says in words for people. What must not: files, edits (`yaml_edit.py`).

What a scalar without quotes means is said in `core/scalars.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from dasctl.core import validate
from dasctl.core.decoding import decoded, format_of
from dasctl.core.domain import FILE, FORMAT, Domain
from dasctl.core.faults import Fault, Path
from dasctl.core.scalars import scalar
from dasctl.errors import FormatTooNew, InvalidDomain

MAX_DEPTH = 50  # of nesting; deeper is an attack or an accident
MAX_VALUES = 500_000  # with aliases expanded

_PLAIN_TAGS = {
    "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!", None,
}  # fmt: skip
_BRACKETS = re.compile(r"[\[\]{}]")
_DEEP_LINE = re.compile(r"^ {50}|(?:[-?] ){20}", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """`domain.yaml` as it was read: plain data, faults of the notation, and the nodes that know their lines."""

    data: dict[str, Any]
    faults: tuple[Fault, ...]
    root: Any

    def line(self, path: Path) -> int:
        """The line (from 1) of the deepest part of `path` that is there."""
        node, line = self.root, 1
        for name in path:
            found = _child(node, name)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        return line


def domain_of(text: str, *, file: str = FILE) -> Domain:
    """The valid domain in `text`. InvalidDomain with all faults, FormatTooNew."""
    return checked(parsed(text, file=file), file=file)


def checked(document: Document, *, file: str = FILE) -> Domain:
    """The same of a text that is parsed already."""
    found = format_of(document.data)
    if found is not None and found > FORMAT:
        raise FormatTooNew(
            f"{file}:{document.line(('format',))}: format {found} is newer than this dasctl, which knows format {FORMAT}",
            hint="upgrade dasctl",
        )
    result = decoded(document.data)
    early = (*document.faults, *result.faults)
    later = [fault for fault in validate.faults(result.domain) if not _told(fault, early)]
    faults = [*early, *later]
    if faults:
        raise invalid(document, faults, file=file)
    return result.domain


def edited_domain(text: str, *, file: str = FILE) -> Domain:
    """The domain in a text that an edit made. InvalidDomain says that it is the edit that was refused."""
    try:
        return domain_of(text, file=file)
    except InvalidDomain as error:
        raise InvalidDomain(
            f"this change would make {file} invalid, so nothing is changed",
            faults=error.faults,
            hint="give the command what would make it valid, or change the file first",
        ) from error


def warnings_in(text: str, domain: Domain, *, file: str = FILE) -> tuple[str, ...]:
    """What is odd in a valid domain, each with its line."""
    odd = validate.warnings(domain)
    if not odd:
        return ()
    document = parsed(text, file=file)
    return tuple(f"{file}:{document.line(warning.path)}: {warning}" for warning in odd)


def place_in(text: str, path: Path, *, file: str = FILE) -> str:
    """Where the value at `path` stands: `config/domain.yaml:12`."""
    return f"{file}:{parsed(text, file=file).line(path)}"


def _told(fault: Fault, early: tuple[Fault, ...]) -> bool:
    """Whether a fault is only the echo of an earlier one at the same place."""
    for other in early:
        shorter = min(len(fault.path), len(other.path))
        if fault.path[:shorter] == other.path[:shorter]:
            return True
    return False


def invalid(document: Document, faults: list[Fault], *, file: str) -> InvalidDomain:
    """The error with one line per fault, in the order of the file."""
    lines = sorted(((document.line(fault.path), str(fault)) for fault in faults), key=lambda pair: pair[0])
    count = "a fault" if len(lines) == 1 else f"{len(lines)} faults"
    return InvalidDomain(
        f"{file} has {count}",
        faults=tuple(f"{file}:{line}: {text}" for line, text in lines),
        hint="correct the file; `dasctl verify-domain` checks it",
    )


def parsed(text: str, *, file: str = FILE) -> Document:
    """The plain data of `text`. InvalidDomain where it is not YAML, or not a mapping."""
    root = _root(text, file)
    if root is None or not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else "is not a mapping"
        raise InvalidDomain(
            f"{file} has a fault",
            faults=(f"{file}:1: the file {what}: it begins with `format: {FORMAT}`",),
            hint="`dasctl create-domain` makes one to begin with",
        )
    faults: list[Fault] = []
    reader = _Reader(faults)
    data = reader.value(root, ())
    return Document(data=data, faults=tuple(faults), root=root)


def _root(text: str, file: str) -> Any:
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)(text.removeprefix("\ufeff"))
    try:
        if _may_be_deep(text) and _is_deep(text):
            raise RecursionError
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _broken(error, text, file) from error
    except yaml.reader.ReaderError as error:
        raise _forbidden(text, file) from error
    except (yaml.YAMLError, ValueError) as error:  # a lone surrogate cannot be encoded
        raise _broken_at(file, 1, 1, str(error)) from error
    except RecursionError as error:
        raise _broken_at(file, 1, 1, "nested too deeply") from error
    finally:
        loader.dispose()


def _may_be_deep(text: str) -> bool:
    """Whether `text` may be nested so deeply that composing it, which libyaml does by recursion, ends the process."""
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            return True
    return _DEEP_LINE.search(text) is not None


def _is_deep(text: str) -> bool:
    """The same for certain: the parser's events come one by one, without recursion."""
    depth = 0
    for event in yaml.parse(
        text.removeprefix("\ufeff"), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    ):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def _broken(error: yaml.MarkedYAMLError, text: str, file: str) -> InvalidDomain:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    message = error.problem or "cannot be read"
    lines = text.splitlines()
    if line <= len(lines) and lines[line - 1][column - 1 : column] == "\t":
        message = "a tab stands where only spaces may: indent with spaces"
    if error.context and error.context_mark is not None:
        message += f" ({error.context} in line {error.context_mark.line + 1})"
    return _broken_at(file, line, column, message)


def _forbidden(text: str, file: str) -> InvalidDomain:
    """The error for a character that YAML has no place for."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is None:
        return _broken_at(file, 1, 1, "a character is not allowed in YAML")
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - (text.rfind("\n", 0, found.start()) + 1) + 1
    return _broken_at(file, line, column, f"the character U+{ord(found[0]):04X} is not allowed in YAML")


def _broken_at(file: str, line: int, column: int, message: str) -> InvalidDomain:
    return InvalidDomain(
        f"{file} is not YAML",
        faults=(f"{file}:{line}:{column}: {message}",),
        hint="correct the file; `dasctl verify-domain` checks it",
    )


class _Reader:
    """Nodes to plain data. Shared nodes (aliases) are read once."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._open: set[int] = set()
        self._size = 0

    def value(self, node: Any, path: Path) -> Any:
        if node.tag not in _PLAIN_TAGS:
            self._faults.append(Fault(path=path, message=f"the tag {node.tag!r} has no meaning here"))
        if isinstance(node, yaml.ScalarNode):
            return scalar(node.value) if not node.style else node.value
        self._size += len(node.value)
        if id(node) in self._open or len(self._open) > MAX_DEPTH or self._size > MAX_VALUES:
            self._faults.append(Fault(path=path, message="contains itself, or is nested too deeply"))
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(item, (*path, str(number))) for number, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._faults.append(Fault(path=path, message="a key must be text"))
                continue
            name = key.value
            if name == "<<" and not key.style:
                merged = self._merged(item, path)
                continue
            if name in lines:
                message = f"the key stands twice, in line {lines[name]} and line {key.start_mark.line + 1}"
                self._faults.append(Fault(path=(*path, name), message=message))
            lines[name] = key.start_mark.line + 1
            result[name] = self.value(item, (*path, name))
        return {**merged, **result} if merged else result

    def _merged(self, node: Any, path: Path) -> dict[str, Any]:
        """What `<<:` brings in; of several mappings the first one wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                self._faults.append(Fault(path=path, message="'<<' takes a mapping, or a list of them"))
                continue
            merged = {**self.value(source, path), **merged}
        return merged


def _child(node: Any, name: str) -> tuple[Any, Any] | None:
    """(key or item, value) of `name` in a node, merged mappings included."""
    if isinstance(node, yaml.SequenceNode):
        position = int(name) if name.isdigit() else len(node.value)
        return (node.value[position], node.value[position]) if position < len(node.value) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    found = None
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == name:
            found = (key, value)
    if found is not None:
        return found
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if (found := _child(source, name)) is not None:
                    return found
    return None

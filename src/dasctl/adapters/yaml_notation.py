"""How an entry of `domain.yaml` is written: YAML that reads as people write it, and means what it did.

What lives here: names and values as text. What must not: where it goes in a text (`yaml_edit.py`). ruamel.yaml is imported
only here.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from dasctl.core.scalars import scalar
from dasctl.errors import OperationFailed

WIDTH = 110  # columns; an entry that is longer as a flow mapping is written as a block
INDENT = 2
LONGEST_KEY = 1000  # characters; YAML lets a key on one line have 1,024


def entry(name: str, value: Any, indent: str, *, block: bool | None, newline: str) -> str:
    """The lines of an entry. `block` None: a flow mapping if it fits into one line."""
    line = indent + flow(name, value)
    if not isinstance(value, dict) or not value or block is False or (block is None and len(line) <= WIDTH):
        return line + newline
    inner = indent + " " * INDENT
    lines = [f"{indent}{value_of(name)}:", *(inner + flow(key, item) for key, item in value.items())]
    return newline.join(lines) + newline


def flow(name: str, value: Any) -> str:
    """`name: value` in one line."""
    return _written({name: value})[1:-1]


def value_of(value: Any) -> str:
    # Not in a list: a mapping with one key would lose its braces there.
    return _written({"v": value})[1:-1].removeprefix("v:").strip(" ")


def _written(value: Any) -> str:
    """`value` as one line of flow YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.emitter import Emitter
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    class LongKeys(Emitter):
        MAX_SIMPLE_KEY_LENGTH = (
            LONGEST_KEY  # its own are `? KEY` from 128 on, which is not how an entry is written here
        )

    def guarded(item: Any) -> Any:
        if isinstance(item, dict):
            return {guarded(key): guarded(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [guarded(inner) for inner in item]
        if isinstance(item, float) and scalar(repr(item)) != item:
            raise OperationFailed(f"the number {item!r} cannot be written")
        if isinstance(item, str) and _needs_quotes(item):
            return DoubleQuotedScalarString(item)
        return item

    writer = YAML()
    writer.Emitter = LongKeys
    writer.default_flow_style = True
    writer.width = 1_000_000
    writer.allow_unicode = True
    out = StringIO()
    writer.dump(guarded(value), out)
    return out.getvalue().strip("\n")


def _needs_quotes(text: str) -> bool:
    """Whether a text must be quoted although it need not be in ruamel's eyes: our scalars, and YAML 1.1's, differ."""
    return (
        not isinstance(scalar(text), str)
        or text.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false", "null")
        or (text[:1].isdigit() and any(char in text for char in ":_"))
        or text in ("<<", "=")
        or text[:1] in "?:-"
        or any(
            ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or ord(char) in (0x2028, 0x2029, 0xFEFF)
            for char in text
        )
    )

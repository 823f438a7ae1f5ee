"""Values of domain.yaml as text on a command line, and back.

What lives here: what a text becomes at a key of some type, and what a value looks like. What must not: names
(`dotted.py`), what the domain makes of the value (`validate.py`).

A text becomes what the key's type demands. Where a key takes anything (properties, env), it becomes what the same text
without quotes means in the file, with the one exception that nothing is an empty text there. A list is written with
commas (`web,jobs`), as in the file (`[web, jobs]`), or as JSON where an item has a comma or a bracket (`["a,b"]`).
"""

from __future__ import annotations

import json
from typing import Any, get_origin

from dasctl.core.decoding import typed
from dasctl.core.dotted import options
from dasctl.core.faults import Fault, Path
from dasctl.core.scalars import scalar


def value_of(text: str, hint: Any, path: Path) -> tuple[Any, tuple[Fault, ...]]:
    """`text` as a value of type `hint`, and what is wrong with it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a command line that are no characters
        return text, (Fault(path=path, message=f"{text!r} is not UTF-8"),)
    return typed(_meant(text, hint), hint, path)


def text_of(value: Any) -> str:
    """A value as text, from which `value_of` makes one that is the same to a server."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        plain = ",".join(value)
        return plain if _items(plain) == value else json.dumps(value, ensure_ascii=False)
    return str(value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to whoever reads them: the port 8080 and the text '8080' are."""
    if isinstance(one, list) or isinstance(other, list):
        return bool(one == other)
    return text_of(one) == text_of(other)


def _meant(text: str, hint: Any) -> Any:
    kinds = options(hint)
    if get_origin(hint) is list:
        return _items(text)
    if not any(kind in (int, float, bool) for kind in kinds):
        return text
    value = scalar(text)
    return value if type(value) in kinds or (str not in kinds and value is not None) else text


def _items(text: str) -> list[Any]:
    text = text.strip()
    if not text:
        return []
    if text.startswith("["):
        try:
            return list(json.loads(text))
        except (ValueError, RecursionError):
            pass  # as in the file, or gitignore's own brackets: [ab].txt
    inner = text[1:-1]
    if text[0] + text[-1] == "[]" and not {"[", "]"} & {*inner}:
        text = inner.strip()
    return [_bare(item.strip()) for item in text.split(",")] if text else []


def _bare(item: str) -> str:
    """An item without the quotes around it."""
    return item[1:-1] if len(item) > 1 and item[0] == item[-1] and item[0] in "\"'" else item

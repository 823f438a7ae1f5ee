"""Dataclasses whose methods are written when they are first called: 25 ms of a start, of 80 classes with 5 methods each.

What lives here: that. What must not: anything that a class could notice, but the moment at which its methods are compiled.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

_KNOWN = ((3, 11), (3, 12))  # later ones compile a class's methods together, and have no function for one


def compile_late() -> None:
    """Let dataclasses made from now on compile `__init__`, `__repr__`, `__eq__` and the like at the first call.

    For processes that are one command: they call the constructors of half of their classes, and hardly any other method.
    """
    made_at_once = getattr(dataclasses, "_create_fn", None)
    if sys.version_info[:2] in _KNOWN and made_at_once is not None:
        setattr(dataclasses, "_create_fn", _late(made_at_once))  # noqa: B010 (it is private)


def _late(create: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    def promised(name: str, *arguments: Any, **named: Any) -> Callable[..., Any]:
        made: Callable[..., Any] | None = None

        def method(*values: Any, **fields: Any) -> Any:
            nonlocal made
            if made is None:
                made = create(name, *arguments, **named)
            return made(*values, **fields)

        method.__name__ = name
        return method

    return promised

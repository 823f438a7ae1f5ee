"""Dataclasses whose methods are written when they are needed: 30 ms of a start, of 80 classes with 5 methods each.

A method is compiled when it is first called, and a constructor, which half of the classes need, when it was called so often
that this pays: until then a general one sets the fields. Whatever that one does not expect, the compiled one judges.

What lives here: that. What must not: anything that a class could notice, but the moment at which its methods are compiled,
and that one without a docstring gets its bare name for one (its signature is what `inspect` would be imported for).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

_KNOWN = ((3, 11), (3, 12))  # later ones compile a class's methods together, and have no function for one
_FEW = 200  # calls of a general constructor that cost as much as compiling one: 1.3 us more each, 390 us


def compile_late() -> None:
    """Let dataclasses made from now on compile `__init__`, `__repr__`, `__eq__` and the like at the first call.

    For processes that are one command: they call the constructors of half of their classes, and hardly any other method.
    """
    made_at_once = getattr(dataclasses, "_create_fn", None)
    if sys.version_info[:2] in _KNOWN and made_at_once is not None:
        setattr(dataclasses, "_create_fn", _late(made_at_once))  # noqa: B010 (it is private)
        setattr(dataclasses, "_init_fn", _general(getattr(dataclasses, "_init_fn")))  # noqa: B009, B010
        setattr(dataclasses, "_process_class", _named(getattr(dataclasses, "_process_class")))  # noqa: B009, B010


def _named(process: Callable[..., type]) -> Callable[..., type]:
    def processed(cls: type, *arguments: Any) -> type:
        if not cls.__doc__:
            cls.__doc__ = cls.__name__
        return process(cls, *arguments)

    return processed


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


def _general(compiled: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
    plain = getattr(dataclasses, "_FIELD")  # noqa: B009 (it is private)

    def init_fn(
        fields: list[Any], std_fields: Any, kw_only_fields: Any, frozen: bool, has_post_init: bool, *rest: Any
    ) -> Callable[..., Any]:
        def make() -> Callable[..., Any]:
            return compiled(fields, std_fields, kw_only_fields, frozen, has_post_init, *rest)

        if not all(field.init and field._field_type is plain for field in fields):
            return make()
        rows = [(field.name, field.default, field.default_factory) for field in fields]
        positional = [field.name for field in std_fields]
        put = object.__setattr__ if frozen else setattr
        left, made = _FEW, None

        def __init__(self: Any, *values: Any, **named: Any) -> None:
            nonlocal left, made
            left -= 1
            given = _given(rows, positional, values, named) if left >= 0 else None
            if given is None:
                made = made or make()
                made(self, *values, **named)
                return
            for name, value in given.items():
                put(self, name, value)
            if has_post_init:
                self.__post_init__()

        return __init__

    return init_fn


def _given(
    rows: list[tuple[str, Any, Any]], positional: list[str], values: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any] | None:
    """The fields' values in order; None where a constructor would complain."""
    told = dict(zip(positional, values, strict=False))
    if len(told) != len(values) or not told.keys().isdisjoint(named):
        return None
    told.update(named)
    given: dict[str, Any] = {}
    for name, default, factory in rows:
        if name in told:
            given[name] = told.pop(name)
        elif default is not dataclasses.MISSING:
            given[name] = default
        elif factory is not dataclasses.MISSING:
            given[name] = factory()
        else:
            return None
    return None if told else given

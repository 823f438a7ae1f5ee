"""Tuples with names, as `collections.namedtuple` makes them, without that import: it takes 2 ms, and so much a helper feels.

What lives here: what such classes have in common. What must not: the classes. Each says its fields and has a `__new__` of
its own, so that making one costs no more than a tuple does:

    class Point(Record):
        __slots__ = ()
        _fields = ("x", "y")
        x, y = fields(2)

        def __new__(cls, x, y=0):
            return made(cls, (x, y))
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

made = tuple.__new__


def fields(count: int) -> tuple[Any, ...]:
    """Attributes for the first `count` places of a tuple, in their order."""
    try:
        from _collections import _tuplegetter  # type: ignore[import-not-found]

        return tuple([_tuplegetter(place, None) for place in range(count)])
    except ImportError:  # another python than CPython
        from operator import itemgetter

        return tuple([property(itemgetter(place)) for place in range(count)])


class Record(tuple):  # type: ignore[type-arg]  # a class of Python 3.9 that is shared by records of all types
    """A tuple whose places have names."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __repr__(self) -> str:
        told = ", ".join(["%s=%r" % pair for pair in zip(self._fields, self)])
        return "%s(%s)" % (type(self).__name__, told)

    def _replace(self, **others: Any) -> Any:
        """The same with other values. Raises ValueError for a name that it does not have."""
        result = made(type(self), [others.pop(name, value) for name, value in zip(self._fields, self)])
        if others:
            raise ValueError("got unexpected field names: %r" % list(others))
        return result

"""Records are what `namedtuple` makes, but for the time of its import."""

from collections import namedtuple
from typing import Any

import pytest

from dasctl.remote import guard
from dasctl.remote.compare import Deviation
from dasctl.remote.manifest import Entry

CASES = [
    (Entry, namedtuple("Entry", "path kind mode size mtime digest"), (b"a", "f", 0o644, 1, 2, b"-")),  # type: ignore[misc]
    (Deviation, namedtuple("Deviation", "path kind action aside", defaults=(False,)), (b"a", "changed", "kept")),  # type: ignore[misc]
    (guard.Judgement, namedtuple("Judgement", "verdict reason message", defaults=("", "")), (None,)),  # type: ignore[misc]
]  # fmt: skip


@pytest.mark.parametrize(("ours", "known", "values"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_record_is_what_namedtuple_makes(ours: Any, known: Any, values: tuple[Any, ...]) -> None:
    one, other = ours(*values), known(*values)
    assert one == other == tuple(one) and repr(one) == repr(other)
    assert one._fields == other._fields and not hasattr(one, "__dict__")
    for name in other._fields:
        assert getattr(one, name) == getattr(other, name)
        changed = one._replace(**{name: "new"})
        assert changed == other._replace(**{name: "new"}) and type(changed) is ours
        with pytest.raises(AttributeError):
            setattr(one, name, "new")
    assert ours(**dict(zip(other._fields, other, strict=True))) == other


def test_names_and_places_that_are_not_there_are_refused() -> None:
    with pytest.raises(TypeError):
        Entry(b"a", "f")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="colour"):
        Deviation(b"a", "changed", "kept")._replace(colour=1)  # type: ignore[call-arg]

"""Dataclasses whose methods are compiled late are as others are. In a process of its own: it holds for a whole process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import copy, dataclasses, pickle, sys
from dataclasses import FrozenInstanceError, dataclass, field, replace

from dasctl.cli.quick_classes import compile_late

compiled = []
if hasattr(dataclasses, "_create_fn"):
    at_once = dataclasses._create_fn
    dataclasses._create_fn = lambda name, *rest, **named: compiled.append(name) or at_once(name, *rest, **named)
compile_late()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Value:
    name: str
    many: list = field(default_factory=list)
    size: int = 7

    def __post_init__(self):
        assert self.size >= 0


@dataclass
class Base:
    left: int


@dataclass
class Derived(Base):
    right: int = 2


assert compiled == [], compiled
assert Base.__doc__, Base.__doc__
value = Value(name="a", many=(1, 2))
assert repr(value) == "Value(name='a', many=(1, 2), size=7)", repr(value)
assert value == Value(name="a", many=(1, 2)) and value != Value(name="b") and value != 3
assert value < Value(name="b", many=())
assert hash(value) == hash(Value(name="a", many=(1, 2)))
assert replace(value, size=9).size == 9 and Value(name="b").many is not Value(name="b").many
assert copy.deepcopy(value) == value and pickle.loads(pickle.dumps(value)) == value
assert Derived(1) == Derived(1, 2) and repr(Derived(1)) == "Derived(left=1, right=2)"
for wrong in (lambda: setattr(value, "size", 1), lambda: delattr(value, "size")):
    try:
        wrong()
    except FrozenInstanceError:
        continue
    raise AssertionError("it is not frozen")
@dataclass
class Plain:
    one: int
    two: int = field(default=2, kw_only=True)
    three: list = field(default_factory=lambda: [3])


for number in range(250):  # the general constructor, then the compiled one
    assert Plain(number) == Plain(one=number, two=2, three=[3]), number
    assert Plain(number, [], two=4) == Plain(two=4, three=[], one=number), number
    for wrong in (lambda: Plain(), lambda: Plain(1, one=1), lambda: Plain(1, [], 3), lambda: Plain(1, four=4)):
        try:
            wrong()
        except TypeError as error:
            assert "__init__()" in str(error), error
            continue
        raise AssertionError(number)


@dataclass(frozen=True)
class Checked:
    size: int
    seen: dataclasses.InitVar[int] = 0
    made: int = field(init=False, default=5)

    def __post_init__(self, seen):
        if self.size < 0:
            raise ValueError(seen)


assert Checked(1) == Checked(size=1, seen=3) and Checked(1).made == 5
try:
    Checked(-1, seen=8)
except ValueError as error:
    assert error.args == (8,)
else:
    raise AssertionError("it was not checked")
for arguments in ({}, {"name": "a", "other": 1}):
    try:
        Value(**arguments)
    except TypeError as error:
        assert "__init__()" in str(error), error
        continue
    raise AssertionError(arguments)
if sys.version_info[:2] in ((3, 11), (3, 12)):
    # Base was never made, <= never asked; Value and Derived were not made often.
    assert compiled.count("__init__") == 3 and "__le__" not in compiled, compiled
"""


def test_late_methods_are_as_others_are() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr

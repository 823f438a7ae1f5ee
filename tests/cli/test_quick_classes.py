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
for arguments in ({}, {"name": "a", "other": 1}):
    try:
        Value(**arguments)
    except TypeError as error:
        assert "__init__()" in str(error), error
        continue
    raise AssertionError(arguments)
if sys.version_info[:2] in ((3, 11), (3, 12)):
    assert compiled.count("__init__") == 2 and "__le__" not in compiled, compiled  # Base was never made, <= never asked
"""


def test_late_methods_are_as_others_are() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr

"""`quick_json` says what `json` says: values, texts and errors alike, on every python that is here."""

import glob
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasctl.remote import quick_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(alphabet='\ud800\udcff\0"\\\n')
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)

ODD = [
    b"", b" ", b"nul", b"[1,", b"[1,]", b'{"a":1,}', b'{"a"', b'"abc', b"[1]x", b"[1] \n\t\r", b"\x0b[1]", b"\xff",
    b"[\xc3]", b'{"a":1,"a":2}', b"NaN", b"[Infinity,-Infinity]", b"-", b"01", b"1e999", b"-0", b"-0.0", b"1E5",
    b"1" * 4000,
    b"1" * 5000,
    b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\xed\xa0\x80"', b'"\x01"', b'"\\x"', b'"\\u12"', b"\xef\xbb\xbf[1]", b"[\0",
    b"1\0",
    "[1]".encode("utf-16"), "[1]".encode("utf-16-le"), "[1]".encode("utf-32"), "1".encode("utf-32-be"), b"[" * 100_000,
    b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, "{\"\u20ac\":\"\U0001f600\"}".encode(), b"tru e", b"true", b'"a" "b"',
]  # fmt: skip


def outcome(load: Any, data: Any) -> Any:
    """What comes of it, in a form that compares: NaN equals NaN, 1 differs from 1.0 and True."""
    try:
        return repr(load(data))
    except (ValueError, RecursionError, TypeError) as error:
        return type(error), "" if isinstance(error, RecursionError) else str(error)


@pytest.mark.parametrize("data", ODD, ids=lambda data: repr(data[:20]))
def test_odd_bytes_are_read_as_json_reads_them(data: bytes) -> None:
    assert outcome(quick_json.loads, data) == outcome(json.loads, data)


@given(st.binary(max_size=30) | st.text(alphabet='[]{}",:1-.eE+ \\utrfalsn\n').map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_as_json_reads_them(data: bytes) -> None:
    assert outcome(quick_json.loads, data) == outcome(json.loads, data)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_any_value_is_written_as_json_writes_it_and_read_again(value: Any) -> None:
    text = quick_json.dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert repr(quick_json.loads(text.encode("ascii"))) == repr(json.loads(text))


def test_what_cannot_be_written_fails_as_with_json() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (
        circle,
        deep,
        object(),
        {1j: 1},
        {1: [b""]},
        {1: 2, None: 3, False: 4, 2.5: 6},
        (1, (2,)),
        math.nan,
    ):
        assert outcome(quick_json.dumps, value) == outcome(
            lambda value: json.dumps(value, separators=(",", ":")), value
        )


@given(st.dictionaries(st.text(max_size=5), LEAVES | st.lists(st.integers(), max_size=2), max_size=4))
@settings(max_examples=200, deadline=None)
def test_the_indented_form_is_that_of_json(value: dict[str, Any]) -> None:
    assert quick_json.dumps_indented(value) == json.dumps(value, indent=1)


def test_the_common_case_needs_no_json_and_every_python_reads_alike(tmp_path: Path) -> None:
    """Also without `_json`, as another python has it."""
    remote = Path(quick_json.__file__)
    values = [{"a": [1, 2.5, None, True, "\xe9\ud800"]}, [], {}, "x", -1]
    text = json.dumps(values, separators=(",", ":"))
    program = (
        "import sys, types; sys.path.insert(0, %r); %s\n"
        "import quick_json as q; text = %r\n"
        "assert q.dumps(q.loads(text.encode())) == text\n"
        "print('json' in sys.modules, flush=True)\n"
        "try: q.loads(b'[1')\nexcept ValueError as error: print(type(error).__name__)\n"
    )
    for python in pythons():
        for hidden, needs in (("", b"False"), ("sys.modules['_json'] = None", b"True")):
            done = subprocess.run(
                [python, "-I", "-S", "-c", program % (str(remote.parent), hidden, text)],
                capture_output=True,
                timeout=60,
            )
            assert done.stdout.split() == [needs, b"JSONDecodeError"], (python, done.stderr)


def pythons() -> list[str]:
    """This one, and those of pyenv that a node may have."""
    found = glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python"))
    return [sys.executable, *(path for path in found if int(path.split("/3.")[1].split(".")[0]) >= 9)]

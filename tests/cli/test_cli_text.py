"""Sizes, times, widths, escapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasctl.cli import text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1260, "1.2 KiB"), (102_400, "100 KiB"),
        (1_048_575, "1.0 MiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB"),
    ],
)  # fmt: skip
def test_sizes(count: int, words: str) -> None:
    assert text.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.414, "0.41 s"), (9.994, "9.99 s"), (9.999, "10.0 s"), (59.97, "1m00s"), (3599, "59m59s"),
        (3599.9, "1h00m"), (7620, "2h07m"), (86400 * 5 + 3600 * 3, "5d03h"), (-0.5, "-0.50 s"), (-0.004, "0.00 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0 s"), (1.0, "1 s"), (59.4, "59 s"), (59.6, "1m00s"), (7620, "2h07m")]
)
def test_ages(seconds: float, words: str) -> None:
    assert text.age(seconds) == words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain-name_1.txt", "plain-name_1.txt"),
        ("größe 日本.txt", "größe 日本.txt"),
        ("a\nb", r"a\nb"),
        (r"a\nb", r"a\\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\u202egpj", r"\u202egpj"),
        ("a\xa0b c\u3000", r"a\xa0b c\u3000"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert text.path_text(name) == shown


@given(st.binary(max_size=40))
def test_any_name_prints_and_different_names_look_different(name: bytes) -> None:
    shown = text.path_text(name.decode("utf-8", "surrogateescape"))
    assert shown.isprintable()
    shown.encode("utf-8")
    other = text.path_text((name + b"\\").decode("utf-8", "surrogateescape"))
    assert shown != other


def test_columns_count_wide_letters_twice() -> None:
    rows = text.aligned([["日本", "x"], ["a", "y"]])
    assert [text.width("".join(row)) for row in rows] == [5, 5]

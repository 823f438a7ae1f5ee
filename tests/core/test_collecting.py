"""Which logs are collected and how much of them; moments as people give them; answers of nodes that lie."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from dasctl.core.collecting import LEAST, LogFile, read, shares, told_of
from dasctl.core.moments import moment
from dasctl.core.sizes import byte_count, size_text
from dasctl.errors import ProtocolError

M = 1 << 20


def file(name: str, size: int, mtime: int, instance: str = "web1") -> LogFile:
    return LogFile(
        instance=instance, node="n", path=f"logs/{name}".encode(), size=size, mtime=mtime, mode=0o644
    )


def test_the_newest_files_come_first_and_what_does_not_fit_is_told() -> None:
    files = [
        file("old.log", 50 * M, 1), file("new.log", 30 * M, 9), file("small.log", 5, 8, "web2"),
        file("last.log", 90 * M, 5, "web2"), file("x.gz", 25 * M, 7), file("y.gz", 3 * M, 6),
    ]  # fmt: skip
    found = shares(files, 30 * M, 20 * M)
    assert [(share.file.name, share.most) for share in found] == [
        ("logs/new.log", 20 * M),
        ("logs/small.log", 5),
        ("logs/x.gz", None),
        ("logs/y.gz", 3 * M),
        ("logs/last.log", 7 * M - 5),
        ("logs/old.log", None),
    ]
    assert told_of(found) == [
        "web1: logs/new.log cut to its last 20 MiB of 30 MiB",
        "web1: logs/old.log left out: no room: --max-size 30 MiB is used up",
        "web1: logs/x.gz left out: compressed, 25 MiB, cannot be cut",
        "web2: logs/last.log cut to its last 7.0 MiB of 90 MiB",
    ]


@pytest.mark.parametrize(("sizes", "max_size", "max_file", "why"), [
    ([50_000], 2 << 10, M, "no room: 2 KiB of --max-size 2 KiB left, and no log is cut to less than 4 KiB"),
    ([M - 1024, 50_000], M, M, "no room: 1 KiB of --max-size 1 MiB left, and no log is cut to less than 4 KiB"),
    ([M, 50_000], M, M, "no room: --max-size 1 MiB is used up"),
    ([50_000], M, 2 << 10, "longer than --max-file-size 2 KiB, and no log is cut to less than 4 KiB"),
])  # fmt: skip
def test_why_there_is_no_room(sizes: list[int], max_size: int, max_file: int, why: str) -> None:
    files = [file(f"{number}.log", size, -number) for number, size in enumerate(sizes)]
    assert told_of(shares(files, max_size, max_file)) == [f"web1: logs/{len(sizes) - 1}.log left out: {why}"]


def test_all_is_taken_where_there_is_room_and_never_more_than_the_limit() -> None:
    files = [file(f"{number}.log", number * 1000, number) for number in range(50)]
    assert all(share.most == share.file.size for share in shares(files, 1 << 40, 1 << 40))
    for limit in (LEAST, 10_000, 100_000, 1_000_000):
        assert sum(share.most or 0 for share in shares(files, limit, 30_000)) <= limit


@pytest.mark.parametrize(
    "row",
    [
        ["logs/../../../etc/cron.d/x", 1, 1, 0o644],
        ["/logs/x", 1, 1, 0o644],
        ["config/x", 1, 1, 0o644],
        ["logs", 1, 1, 0o644],
        ["logs//x", 1, 1, 0o644],
        ["logs/x\0", 1, 1, 0o644],
        ["logs/x", -1, 1, 0o644],
        ["logs/x", True, 1, 0o644],
        ["logs/x", 1, 1 << 80, 0o644],
        ["logs/x", "1", 1, 0o644],
        ["logs/x", 1],
        "logs/x",
    ],
)
def test_what_is_no_log_is_refused(row: Any) -> None:
    with pytest.raises(ProtocolError):
        read([row], "web1", "n1")


def test_the_same_file_twice_is_refused_and_modes_lose_what_is_not_theirs() -> None:
    with pytest.raises(ProtocolError):
        read([["logs/x", 1, 1, 0], ["logs/x", 2, 1, 0]], "web1", "n1")
    assert read([["logs/x", 1, 1, 0o4755]], "web1", "n1")[0].mode == 0o755


def test_moments() -> None:
    now = datetime(2026, 3, 5, 12, 0).timestamp()
    assert moment("2h", now) == now - 7200
    assert moment("1.5d", now) == now - 129_600
    assert moment("2026-03-01", now) == datetime(2026, 3, 1).timestamp()
    assert moment("2026-03-01 10:20", now) == datetime(2026, 3, 1, 10, 20).timestamp()
    assert moment("2026-03-01T10:20:30Z", now) == 1_772_360_430
    assert moment("11:30", now) == datetime(2026, 3, 5, 11, 30).timestamp()
    assert moment("13:30", now) == datetime(2026, 3, 4, 13, 30).timestamp()
    for wrong in ("", "2x", "yesterday", "2026-13-01", "25:00", "-2h"):
        with pytest.raises(ValueError, match="is no moment"):
            moment(wrong, time.time())


def test_sizes() -> None:
    assert [byte_count(text) for text in ("1", "2K", "1.5MiB", "3GB")] == [1, 2048, 1_572_864, 3 * 10**9]
    for wrong in ("", "0", "M", "-1", "1X", "1e9"):
        with pytest.raises(ValueError, match="is no"):
            byte_count(wrong)
    assert [size_text(size) for size in (0, 999, 1024, 20 * M, 1 << 40)] == [
        "0 B", "999 B", "1 KiB", "20 MiB", "1024 GiB",
    ]  # fmt: skip

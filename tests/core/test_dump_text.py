"""A dump as text: what is likely wrong first; and nothing that a node says can break it."""

from __future__ import annotations

from typing import Any

import pytest

from dasctl.core.dump_text import lines, warnings

WHOLE: dict[str, Any] = {
    "node": "n1", "state": "running", "dir": "/srv/web1", "clock_difference_s": 0.2,
    "at": {"revision": 7, "when": 1_700_000_000, "who": "anna", "host": "das", "command": "deploy x", "epoch": 1},
    "record": {"pid": 10, "since": 1_700_000_000, "ready": True},
    "machine": {
        "host": "h", "kernel": "6.1", "cpus": 2, "python": [3, 9, 2], "time": 1_700_000_100, "up": 100_000,
        "load": [0.1, 0.2, 0.3], "memory": {"total": 100 << 20, "available": 50 << 20, "swap": 0, "swap_free": 0},
    },
    "disk": {"path": "/srv", "size": 1000, "free": 500, "files": 100, "files_free": 50, "read_only": False},
    "processes": [
        {"pid": 10, "ppid": 1, "state": "S", "threads": 3, "rss": 1 << 20, "cpu": 1.5, "since": 1, "command": "sh"},
        {"pid": 11, "ppid": 10, "state": "D", "threads": 1, "cpu": 4000, "command": "java", "wait": "nfs"},
    ],
    "listening": [["::", 8080, 11, 3]], "peers": [["10.0.0.1", "established", 7]], "sockets": 9, "unread": 0, "unsent": 0,
    "files": [{"pid": 11, "count": 5, "limit": 100, "open": [[3, "/srv/a"]]}],
    "limits": [{"name": "Max open files", "soft": "100", "hard": "100", "unit": "files"}],
    "environment": ["A", "B"], "deviations": [{"path": "lib/x", "kind": "changed"}], "more": 2, "interrupted": False,
    "logs": [["logs/server.log", 1234, 1_700_000_000.5]], "log": ["last line"], "troubles": ["sockets: hidden"],
    "last_run": None, "command": {"exit": {"status": 3}, "out": "threads\n", "err": "", "seconds": 0.1, "late": True},
}  # fmt: skip


def test_everything_is_there_in_sections() -> None:
    text = "\n".join(lines("web1", WHOLE))
    assert text.startswith("=== web1 on node n1: running\n\n--- where\n")
    for words in (
        "revision     7 of 2023-11-14 22:13:20Z by anna on das: deploy x", "up 27h46m",
        "50 MiB of 100 MiB available", "  java  [nfs]", "listening    :::8080 (pid 11), 3 waiting to be accepted",
        "established      7 with 10.0.0.1", "pid 11: 5 of at most 100", "A B", "changed     lib/x", "and 2 more",
        "logs/server.log", "last line", "(status 3, ended at its time limit, 0.10 s)", "threads", "sockets: hidden",
    ):  # fmt: skip
        assert words in text, words
    assert list(warnings(WHOLE)) == []


def test_what_is_on_record_of_a_dead_server_is_of_its_last_run() -> None:
    last = {"pid": 10, "since": 1_700_000_000, "ready": True, "exit": {"status": 3}}
    text = "\n".join(lines("web1", {**WHOLE, "state": "failed", "record": None, "last_run": last}))
    assert "last run     pid 10 since 2023-11-14 22:13:20Z, was ready, exit status 3\n" in text
    assert "\nready " not in text
    assert "\npid  " not in text
    never = {"pid": 10, "since": 1, "ready": False, "stopped": 1_700_000_000}
    text = "\n".join(lines("web1", {**WHOLE, "record": None, "last_run": never}))
    assert ", never ready, stopped 2023-11-14 22:13:20Z\n" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"clock_difference_s": -70.0}, "clock is off by -70.0 s"),
        ({"disk": {"size": 1000, "free": 10}}, "the disk is full to 99%"),
        ({"disk": {"files": 1000, "files_free": 0}}, "the inodes are used up to 100%"),
        ({"disk": {"read_only": True}}, "read-only"),
        ({"machine": {"memory": {"total": 1000, "available": 10}}}, "memory is short"),
        (
            {"files": [{"pid": 5, "count": 95, "limit": 100, "open": []}]},
            "pid 5 has 95 of at most 100 files open",
        ),
        (
            {"files": [{"pid": 5, "count": 1, "limit": 9, "open": [[1, "/x (deleted)"]]}]},
            "1 deleted files open",
        ),
        ({"processes": [{"pid": 6, "stray": True}]}, "pid 6"),
        ({"interrupted": True}, "interrupted commit"),
    ],
)
def test_what_is_probably_wrong_stands_on_top(more: dict[str, Any], words: str) -> None:
    told = {**WHOLE, **more}
    assert any(words in warning for warning in warnings(told))
    assert list(lines("web1", told))[1].startswith("!!! ")


def test_little_is_enough() -> None:
    assert next(iter(lines("web1", {}))) == "=== web1 on node : unknown"


@pytest.mark.parametrize("wrong", [None, 7, "text", [], {}, [[]], [None], {"a": None}, True, 1e300, -5])
@pytest.mark.parametrize("key", sorted(WHOLE))
def test_no_value_of_a_node_breaks_it(key: str, wrong: Any) -> None:
    try:
        assert list(lines("web1", {**WHOLE, key: wrong}))
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        pass  # the operation tells it as an answer that does not fit

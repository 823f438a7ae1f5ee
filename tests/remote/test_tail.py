"""`tail`: the last lines of logs, and what comes then, through whole conversations, with files that really change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN
from tests.remote.scripted import Step, conversed, meanwhile
from tests.remote.test_servers import Node

from dasctl.remote import frames, log_files

MORE = frames.encode({"op": "more"})


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.define()
    return made


def request(node: Node, *, follow: bool = False, **further: Any) -> bytes:
    item = {"name": "web1", "files": None, "lines": 3, **further}
    header = {"op": "tail", "dir": str(node.path), "domain": DOMAIN, "epoch": 1, "follow": follow}
    return frames.encode({**header, "instances": [item]})


def log(node: Node, name: str = "server.log") -> Path:
    return node.root / "logs" / name


def lines(*replies: dict[str, Any]) -> list[str]:
    return [line[2] for reply in replies for line in reply["lines"]]


def tail(node: Node, **further: Any) -> list[str]:
    """All lines that come without following."""
    replies = conversed(request(node, **further), *[MORE] * 20)
    return lines(*(reply for reply in replies if "lines" in reply))


def followed(node: Node, *steps: Callable[[], object], **further: Any) -> list[list[str]]:
    """What comes at first, and after each step."""
    doing: list[bytes | Step] = [meanwhile(step, MORE) for step in steps]
    replies = conversed(request(node, follow=True, **further), *doing)
    return [lines(reply) for reply in replies]


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("", 3, []),
        ("one\n", 3, ["one"]),
        ("one\ntwo\nthree\nfour\n", 3, ["two", "three", "four"]),
        ("one\ntwo\nthree\nfour", 3, ["two", "three", "four"]),
        ("one\ntwo\n", 0, []),
        ("\n\n\n\n", 2, ["", ""]),
        ("one\r\ntwo\r\n", 3, ["one", "two"]),
        ("x" * 100_000 + "\nlast\n", 1, ["last"]),
        ("".join(f"{number:06}\n" for number in range(50_000)), 30_000, [f"{n:06}" for n in range(20_000, 50_000)]),
    ],
    ids=["empty", "fewer", "more", "no-end", "none", "empty-lines", "cr", "long", "many"],
)  # fmt: skip
def test_the_last_lines(node: Node, text: str, count: int, expected: list[str]) -> None:
    log(node).write_text(text, newline="")
    assert tail(node, lines=count) == expected


def test_a_line_without_an_end_is_cut(node: Node) -> None:
    log(node).write_bytes(b"a" * 3_000_000 + b"\nnext\n")
    replies = conversed(request(node, lines=2), *[MORE] * 8)
    ((_, _, first, cut), (_, _, second, whole)) = [line for reply in replies for line in reply["lines"]]
    assert (len(first), cut) == (log_files.MOST_LINE, True)
    assert (second, whole) == ("next", False)


def test_bytes_that_are_no_text_and_names_that_are_none_arrive(node: Node) -> None:
    path = os.fsencode(log(node)).replace(b"server", b"\xffodd\n")
    Path(os.fsdecode(path)).write_bytes(b"\xfe\x1b[31m\n")
    (reply,) = conversed(request(node, files=["odd"]))
    assert reply["lines"] == [["web1", "logs/\udcffodd\n.log", "\udcfe\x1b[31m", False]]


def test_files_that_are_chosen_and_what_cannot_be_read_is_told(node: Node) -> None:
    for name in ("a.log", "b.log", "c.txt"):
        log(node, name).write_text(f"{name}\n")
    log(node, "link.log").symlink_to("/etc/passwd")
    log(node, "old.log.gz").write_bytes(b"\x1f\x8b")
    os.mkfifo(log(node, "pipe.log"))
    (reply,) = conversed(request(node, files=[r"\.log(\Z|\.gz)"]))
    assert lines(reply) == ["a.log", "b.log"]
    verdict = reply["instances"][0]
    assert verdict["files"] == ["logs/a.log", "logs/b.log"]
    assert {item["path"]: item["message"] for item in verdict["problems"]} == {
        "logs/link.log": "is a symbolic link, and is not followed",
        "logs/old.log.gz": "is compressed, and has no lines to follow",
    }


def test_following_through_a_rotation_by_rename(node: Node) -> None:
    path = log(node)
    path.write_text("first\n")
    old = open(path, "a")  # noqa: SIM115 (the steps write to it)

    def write_old(text: str) -> None:
        old.write(text)
        old.flush()

    def rotate() -> None:
        path.rename(log(node, "server.log.1"))
        write_old("said after the rename\n")
        path.write_text("")

    came = followed(
        node, lambda: write_old("second\n"), rotate, lambda: write_old("the server has not noticed\n"),
        lambda: path.write_text("new\n"), lambda: write_old("its last word\n"), files=["server.log"],
    )  # fmt: skip
    old.close()
    assert came == [
        ["first"], ["second"], ["said after the rename"], ["the server has not noticed"], ["new"], ["its last word"],
    ]  # fmt: skip


def test_following_a_file_that_is_emptied(node: Node) -> None:
    path = log(node)
    path.write_text("one\ntwo\n")

    def copytruncate(text: str) -> None:
        log(node, "server.log.1").write_bytes(path.read_bytes())
        os.truncate(path, 0)
        with open(path, "a") as file:
            file.write(text)

    came = followed(
        node, lambda: copytruncate("three\n"), lambda: copytruncate("longer than all before it\n"), files=["server"]
    )  # fmt: skip
    assert came == [["one", "two"], ["three"], ["longer than all before it"]]


def test_a_server_that_writes_on_where_it_was_leaves_a_hole_that_nobody_sees(node: Node) -> None:
    path = log(node)
    with open(path, "w") as server:
        server.write("x" * 9000 + "\n")
        server.flush()

        def write() -> None:
            os.truncate(path, 0)
            server.write("y\n")
            server.flush()

        assert followed(node, write, lines=0) == [[], ["y"]]


def test_files_that_do_not_exist_yet_are_waited_for(node: Node) -> None:
    later = log(node, "deep/later.log")

    def make() -> None:
        later.parent.mkdir(parents=True)
        later.write_text("here\n")

    log(node).unlink(missing_ok=True)
    came = followed(node, make, lambda: log(node, "x.log").write_text("too\n"), files=[r"\.log\Z"])
    assert came == [[], ["here"], ["too"]]


def test_what_was_rotated_meanwhile_is_not_shown_once_more(node: Node) -> None:
    log(node).write_text("one\n")

    def rotate() -> None:
        log(node, "server.log-20261121").write_text("one\n")
        log(node, "server.log.2").write_text("zero\n")
        log(node, "other.log").write_text("other\n")

    assert followed(node, rotate, files=["."]) == [["one"], ["other"]]


def test_a_line_that_nobody_ends_is_shown_after_a_while(node: Node) -> None:
    log(node).write_text("whole\npart")
    assert followed(node, lambda: None) == [["whole"], ["part"]]


def test_much_comes_in_several_answers_and_nothing_is_lost(node: Node) -> None:
    whole = [f"{number} {'x' * 100}" for number in range(20_000)]
    log(node).write_text("")
    came = followed(node, lambda: log(node).write_text("\n".join(whole) + "\n"), *[lambda: None] * 4)
    assert [line for lines in came for line in lines] == whole
    assert max(len(lines) for lines in came) < 10_000


def test_a_link_that_ends_while_it_is_waited_for_ends_the_helper(node: Node) -> None:
    log(node).write_text("")
    began = time.monotonic()
    replies = conversed(request(node, follow=True))
    assert len(replies) == 1
    assert time.monotonic() - began < 10


def test_more_of_nothing_is_an_error(node: Node) -> None:
    other = frames.encode({"op": "ping", "dir": str(node.path), "domain": DOMAIN, "name": "shop", "epoch": 1})
    log(node).write_text("x\n")
    *_, last = conversed(request(node, follow=True), other, MORE)
    assert last["reply"] == "error"
    assert "more" in last["message"]
    assert conversed(MORE)[0]["reply"] == "error"


def test_an_instance_that_is_not_there_does_not_end_the_others(node: Node) -> None:
    log(node).write_text("x\n")
    items = [{"name": name, "files": None, "lines": 1} for name in ("web0", "web1")]
    header = {"op": "tail", "dir": str(node.path), "domain": DOMAIN, "epoch": 1, "instances": items}
    (reply,) = conversed(frames.encode(header))
    assert [item["verdict"] for item in reply["instances"]] == ["failed", "done"]
    assert lines(reply) == ["x"]

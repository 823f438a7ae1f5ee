"""`logs`: listing and fetching of log files, through whole conversations; files that change meanwhile, compressed ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, spoken
from tests.remote.scripted import _Reader, meanwhile
from tests.remote.test_servers import Node

from dasctl.remote import frames, main

BIG = b"".join(b"%07d line\n" % number for number in range(120_000))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.define()
    (made.root / "logs" / "server.log").write_bytes(b"one\ntwo\nthree\n")
    return made


def request(node: Node, **further: Any) -> bytes:
    item = {"name": "web1", "files": None, "since": None, **further}
    header = {"op": "logs", "dir": str(node.path), "domain": DOMAIN, "epoch": 1, "instances": [item]}
    return frames.encode(header)


def more(path: str | None = None, most: int = 1 << 30, grep: str | None = None) -> bytes:
    if path is None:
        return frames.encode({"op": "more"})
    return frames.encode({"op": "more", "name": "web1", "path": path, "most": most, "grep": grep})


def talk(*steps: Any) -> list[tuple[dict[str, Any], bytes]]:
    out = io.BytesIO()
    main.main(io.BufferedReader(_Reader(steps, out)), out)
    return [frame for frame in spoken(out.getvalue()) if "reply" in frame[0]]


def listed(node: Node, **further: Any) -> dict[str, Any]:
    verdict: dict[str, Any] = talk(request(node, **further))[0][0]["instances"][0]
    return verdict


def fetched(
    node: Node, path: str, *, do: Callable[[], object] = lambda: None, **further: Any
) -> tuple[bytes, dict[str, Any]]:
    """The content that comes, and the last answer. `do` happens between the listing and the fetching."""
    _, *answers = talk(request(node), meanwhile(do, more(path, **further)), *[more()] * 5)
    content = b""
    for header, body in answers:
        if not header["more"]:
            return content, header
        piece = zlib.decompress(body)
        assert len(piece) == header["raw"]
        content += piece
    raise AssertionError("it never ends")


def test_what_there_is(node: Node) -> None:
    logs = node.root / "logs"
    (logs / "deep").mkdir()
    (logs / "deep" / "x.log").write_bytes(b"x")
    (logs / "link").symlink_to("/etc/passwd")
    os.mkfifo(logs / "pipe")
    os.utime(logs / "deep" / "x.log", ns=(1, 1_600_000_000_000_000_007))
    (logs / "deep" / "x.log").chmod(0o640)
    verdict = listed(node)
    assert [row[:2] for row in verdict["logs"]] == [["logs/deep/x.log", 1], ["logs/server.log", 14]]
    assert verdict["logs"][0][2:] == [1_600_000_000_000_000_007, 0o640]
    assert [problem["path"] for problem in verdict["problems"]] == ["logs/link"]
    assert [row[0] for row in listed(node, since=1_700_000_000)["logs"]] == ["logs/server.log"]
    assert [row[0] for row in listed(node, files=[r"\Adeep/"])["logs"]] == ["logs/deep/x.log"]


def test_a_folder_that_leads_out_is_not_entered(node: Node, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.log").write_text("secret")
    (node.root / "logs" / "out").symlink_to(outside)
    assert [row[0] for row in listed(node)["logs"]] == ["logs/server.log"]
    answers = talk(request(node), more("logs/out/secret.log"))
    assert answers[1][0]["reply"] == "error"
    assert talk(request(node), more("logs/../../outside/secret.log"))[1][0]["reply"] == "error"


def test_contents_come_whole_and_of_large_ones_the_end_from_a_line_on(node: Node) -> None:
    (node.root / "logs" / "big.log").write_bytes(BIG)
    content, last = fetched(node, "logs/big.log")
    assert (content == BIG, last["skipped"]) == (True, 0)
    content, last = fetched(node, "logs/big.log", most=1000)
    assert content == BIG[-988:]  # so many whole lines
    assert last["skipped"] == len(BIG) - 988


def test_a_file_that_is_rotated_meanwhile_is_found_again(node: Node) -> None:
    log = node.root / "logs" / "server.log"

    def rotate() -> None:
        log.rename(log.with_name("server.log.1"))
        log.write_text("new")

    assert fetched(node, "logs/server.log", do=rotate)[0] == b"one\ntwo\nthree\n"


def test_a_file_that_grows_or_goes_meanwhile(node: Node) -> None:
    log = node.root / "logs" / "server.log"
    with open(log, "ab") as file:
        assert fetched(node, "logs/server.log", do=lambda: (file.write(b"more"), file.flush()))[0].endswith(
            b"three\n"
        )
    content, last = fetched(node, "logs/server.log", do=log.unlink)
    assert (content, last["problem"]) == (b"", "is not there any more")


@pytest.mark.parametrize(
    ("name", "pack"),
    [("x.log", bytes), ("x.log.gz", gzip.compress), ("x.log.bz2", bz2.compress), ("x.log.xz", lzma.compress)],
)
def test_lines_are_looked_for_also_in_compressed_files(
    node: Node, name: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(BIG)
    (node.root / "logs" / name).write_bytes(packed)
    content, _ = fetched(node, f"logs/{name}", grep="^00[0-9]*99 ")
    assert content == b"".join(b"%07d line\n" % number for number in range(99, 100_000, 100))
    assert fetched(node, f"logs/{name}")[0] == packed
    assert fetched(node, f"logs/{name}", grep="nothing")[0] == b""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^b", [b"bb", b"b c", b"b a"]), ("a$", [b"aa", b"b a"]), (r"\Ab", [b"bb", b"b c", b"b a"]),
        (r"a\Z", [b"aa", b"b a"]), (r"b(?![\s\S])", [b"bb"]), (r"b\s", [b"b c", b"b a"]), ("^$", [b""]),
        ("x", []), (r"(?i)B\b", [b"bb", b"b c", b"b a"]),
    ],
)  # fmt: skip
def test_a_line_is_judged_by_itself(node: Node, pattern: str, expected: list[bytes]) -> None:
    lines = [b"aa", b"bb", b"", b"b c", b"b a", b"c"]
    (node.root / "logs" / "x.log").write_bytes(b"\n".join(lines))
    assert fetched(node, "logs/x.log", grep=pattern)[0].splitlines() == expected


def test_compressed_files_that_cannot_be_looked_into_say_so(node: Node) -> None:
    (node.root / "logs" / "cut.gz").write_bytes(gzip.compress(BIG)[:1000])
    (node.root / "logs" / "no.gz").write_bytes(b"this is none")
    (node.root / "logs" / "x.xz").write_bytes(b"this is none")
    (node.root / "logs" / "x.zst").write_bytes(b"nobody knows")
    assert "ended" in fetched(node, "logs/cut.gz", grep="nothing")[1]["problem"]
    assert "ip" in fetched(node, "logs/no.gz", grep="x")[1]["problem"]
    assert fetched(node, "logs/x.xz", grep="x")[1]["problem"]
    assert "does not read" in fetched(node, "logs/x.zst", grep="x")[1]["problem"]


def test_a_line_without_an_end_fills_no_memory(node: Node) -> None:
    with open(node.root / "logs" / "endless.log", "wb") as file:
        file.truncate(300 << 20)  # a hole of zeros
    content, _ = fetched(node, "logs/endless.log", grep=r"\x00")
    assert len(content) < 200_000


def test_names_that_are_no_text(node: Node) -> None:
    path = os.path.join(os.fsencode(node.root), b"logs/\xff\n.log")
    Path(os.fsdecode(path)).write_bytes(b"odd")
    assert listed(node)["logs"][-1][0] == "logs/\udcff\n.log"
    assert fetched(node, "logs/\udcff\n.log")[0] == b"odd"

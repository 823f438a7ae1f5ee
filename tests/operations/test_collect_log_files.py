"""`collect-log-files` over links in memory: what is in the archive, limits, nodes that fail or lie."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.log_archives import TarLogArchives
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.streams import Fault
from dasctl.core.outcome import Outcome
from dasctl.errors import UsageError
from dasctl.operations.collect_log_files import collect_log_files
from dasctl.operations.ports import Links
from dasctl.remote import words
from dasctl.remote.frames import encode
from tests.operations.counting import Counted
from tests.scenarios.world import World


@pytest.fixture
def synced(world: World) -> World:
    code, said = world.run("sync-cluster web")
    assert code == 0, said
    for name in ("web1", "web2"):
        (world.instance(name) / "logs" / "server.log").write_text(f"{name} one\n{name} ERROR two\n")
    return world


def collect(
    world: World, file: Path, *, links: Links | None = None, parallel: int = 64, **further: Any
) -> Outcome:
    ctx = replace(
        world.context("collect-log-files"), log_archives=TarLogArchives(), links=links or world.links, parallel=parallel
    )  # fmt: skip
    return asyncio.run(collect_log_files(ctx, ["web"], file=file, **further))


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def test_all_logs_of_all_in_one_trip_for_the_list_and_some_for_each_file(
    synced: World, tmp_path: Path
) -> None:
    file = tmp_path / "x.tar.gz"
    outcome = collect(synced, file)
    assert contents(file) == {
        "web1/logs/server.log": b"web1 one\nweb1 ERROR two\n", "web2/logs/server.log": b"web2 one\nweb2 ERROR two\n",
    }  # fmt: skip
    assert (outcome.exit_code, outcome.data["files"], outcome.data["file"]) == (0, 2, str(file))


def test_limits_are_told_and_kept(synced: World, tmp_path: Path) -> None:
    log = synced.instance("web2") / "logs" / "big.log"
    log.write_bytes(b"".join(b"%06d\n" % number for number in range(10_000)))
    (log.with_name("packed.gz")).write_bytes(gzip.compress(bytes(100)) + b"\0" * 20_000)
    file = tmp_path / "x"
    outcome = collect(synced, file, max_file_size=7000)
    found = contents(file)
    assert found["web2/logs/big.log"] == b"".join(b"%06d\n" % number for number in range(9000, 10_000))
    assert "web2/logs/packed.gz" not in found
    assert outcome.warnings == (
        "web2: logs/big.log cut to its last 6.8 KiB of 68.4 KiB",
        "web2: logs/packed.gz left out: compressed, 19.6 KiB, cannot be cut",
    )
    assert outcome.exit_code == 0


def test_only_lines_that_match_travel(synced: World, tmp_path: Path) -> None:
    (synced.instance("web1") / "logs" / "old.log.gz").write_bytes(gzip.compress(b"ERROR old\nfine\n"))
    links = MemoryLinks()
    big = synced.instance("web2") / "logs" / "big.log"
    big.write_bytes(b"nothing of interest\n" * 500_000 + b"ERROR last\n")
    file = tmp_path / "x"
    collect(synced, file, grep="ERROR", links=links)
    assert contents(file) == {
        "web1/logs/old.log.gz.txt": b"ERROR old\n",
        "web1/logs/server.log": b"web1 ERROR two\n",
        "web2/logs/big.log": b"ERROR last\n",
        "web2/logs/server.log": b"web2 ERROR two\n",
    }
    outcome = collect(synced, tmp_path / "y", grep="of interest", max_file_size=1000)
    assert contents(tmp_path / "y") == {"web2/logs/big.log": b"nothing of interest\n" * 50}
    assert "not all lines that match" in outcome.warnings[0]


@pytest.mark.parametrize("grep", [None, "ERROR|line"])
def test_no_more_nodes_are_connected_at_a_time_than_may_be(
    synced: World, tmp_path: Path, grep: str | None
) -> None:
    """The archive is the same: the newest files come first, whichever node has them."""
    (synced.instance("web2") / "logs" / "big.log").write_bytes(b"line\n" * 5000)
    (synced.instance("web1") / "logs" / "old.log").write_bytes(b"line\n" * 5000)
    os.utime(synced.instance("web1") / "logs" / "old.log", (1, 1))
    links = Counted(links=MemoryLinks())
    most = (
        30_000 if grep is None else 100_000
    )  # who comes first takes what there is, where nobody knows beforehand
    outcome = collect(synced, tmp_path / "x", links=links, parallel=1, max_size=most, grep=grep)
    assert (links.most, links.most_opening) == (1, 1)
    together = collect(synced, tmp_path / "y", max_size=most, grep=grep)
    assert (outcome.results, outcome.warnings) == (together.results, together.warnings)
    assert contents(tmp_path / "x") == contents(tmp_path / "y")
    assert len(contents(tmp_path / "x")["web2/logs/big.log"]) == 25_000
    ended = [event.instance for event in synced.events if event.phase == "done"]
    assert sorted(ended, key=str) == ["web1"] * 3 + ["web2"] * 3  # one of the three is the synchronisation's


def test_what_goes_away_between_asking_and_taking_is_told(synced: World, tmp_path: Path) -> None:
    logs = synced.instance("web2") / "logs"
    (logs / "old.log").write_text("old\n")
    (logs / "old.gz").write_bytes(gzip.compress(b"old\n"))

    class Rotating(Counted):
        def __init__(self) -> None:
            super().__init__(links=MemoryLinks())
            self.times = 0

        def open(self, name: str, node: Any) -> Any:
            self.times += name == "n2"
            if name == "n2" and self.times == 2:
                (logs / "old.log").unlink()
                (logs / "old.gz").write_bytes(gzip.compress(os.urandom(1000)))
            return super().open(name, node)

    outcome = collect(synced, tmp_path / "x", links=Rotating(), parallel=1)
    assert sorted(contents(tmp_path / "x")) == ["web1/logs/server.log", "web2/logs/server.log"]
    assert outcome.warnings == (
        "web2: logs/old.gz left out: compressed, it grew meanwhile, and cannot be cut",
        "web2: logs/old.log left out: it went away meanwhile",
    )
    assert outcome.exit_code == 0


def test_a_node_that_is_away_when_it_is_asked_first_leaves_the_others_theirs(
    synced: World, tmp_path: Path
) -> None:
    synced.away("n2")
    outcome = collect(synced, tmp_path / "x", parallel=1)
    assert list(contents(tmp_path / "x")) == ["web1/logs/server.log"]
    assert (outcome.exit_code, [row.status for row in outcome.results]) == (3, ["collected", "unreachable"])


def test_a_node_that_is_away_leaves_the_others_theirs(synced: World, tmp_path: Path) -> None:
    synced.away("n2")
    outcome = collect(synced, tmp_path / "x")
    assert list(contents(tmp_path / "x")) == ["web1/logs/server.log"]
    assert (outcome.exit_code, [row.status for row in outcome.results]) == (3, ["collected", "unreachable"])


def test_a_node_that_is_lost_in_the_middle_is_left_out_as_a_whole(synced: World, tmp_path: Path) -> None:
    (synced.instance("web2") / "logs" / "a.log").write_bytes(os.urandom(3_000_000))
    links = MemoryLinks(faults={"n2": Fault(cut_after_received=1_000_000)})
    outcome = collect(synced, tmp_path / "x", links=links)
    assert list(contents(tmp_path / "x")) == ["web1/logs/server.log"]
    assert outcome.exit_code == 3


def test_where_all_are_away_nothing_is_written(synced: World, tmp_path: Path) -> None:
    synced.away("n1")
    synced.away("n2")
    folder = tmp_path / "out"
    folder.mkdir()
    assert collect(synced, folder / "x").exit_code == 4
    assert list(folder.iterdir()) == []


def test_slips_of_the_pen(synced: World, tmp_path: Path) -> None:
    for wrong in ({"since": "soon"}, {"grep": "("}, {"files": ["["]}):
        with pytest.raises(UsageError):
            collect(synced, tmp_path / "x", **wrong)
    (tmp_path / "x").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        collect(synced, tmp_path / "x")


def lying(reply: dict[str, Any], body: bytes = b"") -> Any:
    """A helper that answers every request with this."""

    def main(reader: Any, writer: Any) -> None:
        greeting = {
            "greeting": 1,
            "python": [3, 11, 0],
            "pid": 1,
            "uid": 1,
            "user": "x",
            "host": "x",
            "home": "/",
        }
        writer.write(b"\n" + words.MARKER + b"\n" + encode(greeting))
        writer.flush()
        while line := reader.readline():
            header = json.loads(line)
            reader.read(header.get("size", 0))
            if "op" in header:
                names = [item["name"] for item in header.get("instances", ())]
                logs = [["logs/x", 10, 1, 0o644]]
                rows = [{"name": name, "verdict": "done", "logs": logs} for name in names]
                listing = {"reply": "logs", "instances": rows}
                writer.write(encode(listing) if names else encode(reply, body))
                writer.flush()

    return main


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        ({"reply": "more", "more": True}, b""),
        ({"reply": "more", "more": True}, b"no zlib"),
        ({"reply": "more", "more": True}, zlib.compress(bytes(100 << 20))),
        ({"reply": "more", "more": True}, zlib.compress(b"eleven byte")),
    ],
    ids=["endless", "garbage", "bomb", "too-much"],
)
def test_a_node_that_lies_fails_alone(
    synced: World, tmp_path: Path, reply: dict[str, Any], body: bytes
) -> None:
    outcome = collect(synced, tmp_path / "x", links=MemoryLinks(main=lying(reply, body)))
    assert not (tmp_path / "x").exists()
    assert all(row.error is not None for row in outcome.results)
    assert outcome.exit_code == 1

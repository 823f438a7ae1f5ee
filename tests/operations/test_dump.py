"""`dump` over links in memory: one trip per node, as a document, as an archive; nodes that lie."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.log_archives import TarLogArchives
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.core.outcome import Outcome
from dasctl.errors import UsageError
from dasctl.operations.dump import dump
from dasctl.remote import words
from dasctl.remote.frames import encode
from tests.operations.rolling import Cluster
from tests.scenarios.world import World


@pytest.fixture
def synced(world: World) -> World:
    world.run("sync-cluster web")
    for name in ("web1", "web2"):
        (world.instance(name) / "logs" / "server.log").write_text(
            f"{name} \udcff\n", errors="surrogateescape"
        )
    return world


def dumped(world: World, *, links: MemoryLinks | None = None, **further: Any) -> Outcome:
    ctx = replace(world.context("dump"), log_archives=TarLogArchives(), links=links or MemoryLinks())
    return asyncio.run(dump(ctx, ["web"], **further))


def test_one_trip_per_node_and_the_configs_own_command(synced: World) -> None:
    store = synced.copies["das"].store
    assert store.text is not None
    start = "exec ./serve ${http.port}"
    store.write(store.text.replace(start, f"{start}\n    dump: echo ${{http.port}} of ${{instance.name}}"))
    links = MemoryLinks()
    outcome = dumped(synced, links=links)
    assert outcome.exit_code == 0
    assert [tally.round_trips for tally in links.tallies.values()] == [1, 1]
    first = outcome.results[0].fields
    assert first["command"]["out"] == "8080 of web1\n"
    assert first["log"] == ["web1 \udcff"]
    assert first["state"] == "not running"
    json.dumps(outcome.as_json())


def test_of_a_dead_server_its_last_run_is_told_as_such(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.run("start-cluster web")
    try:
        alive = cluster.json("dump web1")["results"][0]
        pid = alive["record"]["pid"]
        assert (alive["state"], alive["record"]["ready"], alive["last_run"]) == ("running", True, None)
        os.killpg(pid, signal.SIGKILL)
        until = time.monotonic() + 30
        while (dead := cluster.json("dump web1")["results"][0])["state"] == "running":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (dead["state"], dead["record"], dead["last_run"]["pid"]) == ("failed", None, pid)
        text = cluster.run("dump web1")
        assert f"last run     pid {pid} since" in text
        assert "ready        yes" not in text
        cluster.run("stop-instance web2")
        assert ", was ready, stopped" in cluster.run("dump web2")
    finally:
        cluster.end()


def test_an_archive_with_text_and_document_of_each(synced: World, tmp_path: Path) -> None:
    file = tmp_path / "d.tar.gz"
    outcome = dumped(synced, file=file)
    assert outcome.data["file"] == str(file)
    with tarfile.open(file) as tar:
        names = ["web1/dump.json", "web1/dump.txt", "web2/dump.json", "web2/dump.txt"]
        assert tar.getnames() == names
        document = json.loads(tar.extractfile("web2/dump.json").read())  # type: ignore[union-attr]
        assert (document["instance"], document["log"]) == ("web2", ["web2 \udcff"])
        text = tar.extractfile("web1/dump.txt").read()  # type: ignore[union-attr]
        assert text.startswith(b"=== web1 on node n1: not running\n")
        assert b"web1 \xff\n" in text
    with pytest.raises(UsageError, match="exists already"):
        dumped(synced, file=file)


def test_an_instance_that_was_never_there_fails_alone(synced: World) -> None:
    synced.wipe_node("n2")
    outcome = dumped(synced)
    assert [row.good for row in outcome.results] == [True, False]
    assert outcome.exit_code == 3


@pytest.mark.parametrize(
    "more",
    [
        {"files": [{"open": 7}]}, {"log": 7}, {"processes": [{"cpu": "much", "since": [], "pid": []}]},
        {"record": {"since": "x"}}, {"log": ["\ud800"]}, {"machine": 5, "disk": {"size": 1, "free": {}}},
    ],
)  # fmt: skip
def test_a_node_that_lies_is_told_as_such(synced: World, tmp_path: Path, more: dict[str, Any]) -> None:
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
            rows = [
                {"name": item["name"], "verdict": "done", **more} for item in json.loads(line)["instances"]
            ]
            writer.write(encode({"reply": "dump", "node": {}, "instances": rows}))
            writer.flush()

    outcome = dumped(synced, links=MemoryLinks(main=main))
    assert dumped(synced, links=MemoryLinks(main=main), file=tmp_path / "x").exit_code in (0, 1)
    for row in outcome.results:
        assert row.good or "does not fit the protocol" in str(row.error), row

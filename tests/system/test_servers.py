"""Servers through the real command line: started, judged, stopped, found out when they lie."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting


@pytest.fixture
def make(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]):
    made: list[Cluster] = []

    def cluster(count: int = 2, **more: str) -> Cluster:
        made.append(make_cluster(tmp_path, ssh, [sshd_factory(f"n{i}") for i in range(1, count + 1)], **more))
        return made[-1]

    yield cluster
    for one in made:
        one.run("stop-cluster", "web", "--kill")


def states(cluster: Cluster, code: int = 0) -> dict[str, str]:
    return {
        row["instance"]: row["state"] for row in cluster.json("list-instances", code=code).json["results"]
    }


def test_start_list_fetch_restart_stop(make: Callable[..., Cluster]) -> None:
    cluster = make()
    started = cluster.json("start-cluster", "web")
    assert [row["status"] for row in started.json["results"]] == ["started", "started"]
    assert states(cluster) == {"web1": "running", "web2": "running"}
    assert cluster.json("list-clusters").json["results"][0]["state"] == "running"
    row = cluster.json("list-instances").row("web1")
    assert set(row) >= {
        "instance", "cluster", "node", "host", "state", "pid", "since", "revision", "requires_restart",
    }  # fmt: skip
    assert row["since"] == started.row("web1")["since"]
    port = json.loads((cluster.folder("web1") / "config/domain.yaml").read_text())["properties"]["http.port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.read() == b"<h1>hello</h1>\n"
    again = cluster.json("start-cluster", "web")
    assert again.json["status"] == "unchanged"
    assert again.row("web1")["pid"] == row["pid"]
    restarted = cluster.json("restart-instance", "web1")
    assert restarted.row("web1")["status"] == "restarted"
    assert restarted.row("web1")["pid"] != row["pid"]
    cluster.json("stop-instance", "web1")
    assert cluster.json("list-clusters").json["results"][0]["state"] == "partially running"
    cluster.json("stop-cluster", "web")
    assert states(cluster) == {"web1": "not running", "web2": "not running"}
    assert cluster.json("stop-cluster", "web").json["status"] == "unchanged"


def test_requires_restart_is_exact(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.json("start-cluster", "web")

    def required() -> bool:
        cluster.json("sync-cluster", "web")
        return bool(cluster.json("list-instances").row("web1")["requires_restart"])

    assert not required()
    cluster.write("docroot/index.html", "a page is no reason\n")
    assert not required()
    cluster.write("lib/common.txt", "another\n")
    assert required()
    cluster.write("lib/common.txt", "common\n")
    assert not required()
    os.utime(cluster.root / "lib/common.txt", ns=(1, 1))
    assert not required()
    cluster.edit_yaml("exec python3", "exec nice python3")
    assert required()
    cluster.edit_yaml("exec nice python3", "exec python3")
    assert not required()
    cluster.write("lib/new.txt", "new\n")
    assert required()
    cluster.json("restart-cluster", "web")
    assert not required()


def test_a_server_that_dies_while_starting_is_told_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(1, start="echo about to fail; echo why >&2; exit 7")
    before = time.monotonic()
    run = cluster.run("start-cluster", "web")
    assert time.monotonic() - before < 20
    assert run.code == 1
    assert "7" in run.err
    assert "about to fail" in run.err
    assert "why" in run.err
    assert "exit 7" in run.err  # the command that a person would run by hand
    assert states(cluster) == {"web1": "failed"}


def test_a_server_that_was_killed_is_failed_and_starts_again(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    pid = cluster.json("start-cluster", "web").row("web1")["pid"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert states(cluster) == {"web1": "failed"}
    assert cluster.json("list-instances").row("web1")["since"] is None, "it is not up"
    assert cluster.json("start-cluster", "web").row("web1")["status"] == "started"
    assert states(cluster) == {"web1": "running"}


def test_after_a_reboot_nothing_is_taken_for_running(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    pid = cluster.json("start-cluster", "web").row("web1")["pid"]
    record = cluster.folder("web1") / ".dasctl/process.json"
    data = json.loads(record.read_text())
    (boot,) = [key for key in data if "boot" in key]
    record.write_text(json.dumps({**data, boot: "another-boot"}))
    assert states(cluster) == {"web1": "not running"}
    assert cluster.json("stop-cluster", "web").json["status"] == "unchanged"
    os.kill(pid, 0)  # it was not touched: it is nobody's as far as the record can say
    os.kill(pid, signal.SIGKILL)


def test_a_server_that_does_not_stop(make: Callable[..., Cluster]) -> None:
    cluster = make(
        1, start="trap '' TERM; echo up; while true; do sleep 1; done",
        more="ready: {log: up}\nstop: {signal: TERM, grace: 1s}",
    )  # fmt: skip
    cluster.json("start-cluster", "web")
    run = cluster.run("stop-cluster", "web")
    assert run.code == 1
    assert "--kill" in run.err
    assert states(cluster) == {"web1": "running"}
    cluster.json("stop-cluster", "web", "--kill")
    assert states(cluster) == {"web1": "not running"}


def test_not_ready_in_time(make: Callable[..., Cluster]) -> None:
    cluster = make(1, start="exec sleep 300", more='ready: {tcp: "127.0.0.1:1", timeout: 1s}')
    run = cluster.run("start-cluster", "web")
    assert run.code == 1
    assert "not ready" in run.err
    assert states(cluster) == {"web1": "starting"}


def test_start_without_synchronising(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    never = cluster.run("start-cluster", "web", "--sync", "none")
    assert never.code != 0
    assert "synchronis" in never.err
    cluster.json("sync-cluster", "web")
    cluster.write("docroot/index.html", "later\n")
    cluster.json("start-cluster", "web", "--sync", "none")
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "<h1>hello</h1>\n"
    cluster.json("stop-cluster", "web")
    cluster.json("start-cluster", "web", "--sync", "full")
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "later\n"


def test_delete_instance_and_its_server(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.json("start-cluster", "web")
    refused = cluster.run("delete-instance", "web1")
    assert refused.code == 1
    assert "stop" in refused.err
    assert cluster.run("delete-server-config", "web1").code == 1
    cluster.json("stop-instance", "web1")
    cluster.json("delete-instance", "web1")
    assert not cluster.folder("web1").exists()
    assert "web1:" not in cluster.yaml().read_text()
    cluster.nodes["n2"].stop()
    assert cluster.run("delete-instance", "web2").code == 4
    cluster.json("delete-server-config", "web2")
    assert "web2:" not in cluster.yaml().read_text()
    cluster.nodes["n2"].start()
    pid = json.loads((cluster.folder("web2") / ".dasctl/process.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)


def test_a_running_server_reloads_what_needs_no_restart(make: Callable[..., Cluster]) -> None:
    cluster = make(
        1, start="trap 'echo reloaded >> logs/reloads' HUP; echo up; while true; do sleep 0.1; done",
        more="ready: {log: up}\nreload: {signal: HUP}\nstop: {signal: TERM, grace: 2s}",
    )  # fmt: skip
    cluster.edit_yaml("'config/**', ", "")
    cluster.json("start-cluster", "web")
    reloads = cluster.folder("web1") / "logs/reloads"
    cluster.write("docroot/index.html", "is read anew at each request\n")
    assert "note" not in cluster.json("sync-cluster", "web").row("web1")
    cluster.write("lib/common.txt", "needs a restart\n")
    assert "note" not in cluster.json("sync-cluster", "web").row("web1")
    cluster.write("config/logging.properties", "level=DEBUG\n")
    assert "note" not in cluster.json("sync-cluster", "web", "--no-reload").row("web1")
    assert not reloads.exists()
    cluster.write("config/logging.properties", "level=TRACE\n")
    assert cluster.json("sync-cluster", "web").row("web1")["note"] == "reloaded"
    time.sleep(1)
    assert reloads.read_text() == "reloaded\n"
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"
    assert reloads.read_text() == "reloaded\n"


def test_an_instance_that_was_moved_to_another_node_is_told(make: Callable[..., Cluster]) -> None:
    cluster = make()
    started = cluster.json("start-cluster", "web").row("web2")
    cluster.edit_yaml("web2: {node: n2", "web2: {node: n1")
    run = cluster.json("sync-instance", "web2")
    assert ["web2 was on node n2 before" in warning for warning in run.json["warnings"]] == [True]
    assert run.row("web2")["status"] == "synchronised"
    os.kill(started["pid"], 0)
    assert "warnings" not in cluster.json("sync-instance", "web2").json
    cluster.edit_yaml("web2: {node: n1", "web2: {node: n2")
    assert cluster.json("stop-cluster", "web").row("web2")["status"] == "stopped"

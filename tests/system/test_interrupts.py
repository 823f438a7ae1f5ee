"""Two commands at once, Ctrl-C and SIGTERM at any moment, through the real command line and real OpenSSH servers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.system.cluster import Cluster, Run, tree_of
from tests.system.failing import decent, refused
from tests.system.faults import (
    AT_ONCE_S,
    MIB,
    listing_of,
    same,
    statuses,
    wait_until,
)
from tests.system.sshd import free_port

# Two commands at once.


def test_two_commands_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    first = cluster.start("sync-cluster", "web", "--timeout", "100")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    second = refused(cluster, "create-cluster", "other", code=5)
    message = second.json["error"]["message"]
    for word in ("sync-cluster web", f"pid {first.pid}", "since", "@"):
        assert word in message, message
    assert "--wait" in second.json["error"]["hint"]
    # Whoever only looks is not kept out.
    assert decent(cluster.run("list-instances", "--nostatus")).code == 0
    began = time.monotonic()
    assert decent(cluster.run("create-cluster", "other", "--wait", "0.5")).code == 5
    assert time.monotonic() - began < AT_ONCE_S
    waiting = cluster.start("--json", "create-cluster", "other", "--wait", "30")
    time.sleep(0.3)
    cluster.nodes["n1"].resume()
    first.communicate(timeout=60)
    assert first.returncode == 0
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out + err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_waiting_for_the_lock_can_be_interrupted(
    make: Callable[..., Cluster], number: signal.Signals
) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    first = cluster.start("sync-cluster", "web", "--timeout", "100")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    waiting = cluster.start("--json", "create-cluster", "other", "--wait", "60")
    time.sleep(1.5)
    began = time.monotonic()
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run = decent(Run(code=waiting.returncode, out=out, err=err))
    assert run.code == 1
    assert "interrupted" in run.json["error"]["message"]
    assert run.json["error"]["hint"]
    assert "other" not in cluster.yaml().read_text()
    cluster.nodes["n1"].resume()
    assert first.wait(60) == 0
    first.communicate()


# Interrupts.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("command", ["sync-cluster", "start-cluster"])
def test_interrupted_while_one_of_three_hangs(
    make: Callable[..., Cluster], number: signal.Signals, command: str
) -> None:
    cluster = make(3)
    cluster.nodes["n2"].hang()
    process = cluster.start("--json", "--timeout", "50", command, "web")
    done = [cluster.folder(name) / ".dasctl/state.json" for name in ("web1", "web3")]
    wait_until(lambda: all(path.exists() for path in done))
    if command == "start-cluster":
        wait_until(lambda: "running" in cluster.run("list-instances", "web1,web3").out)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run = decent(Run(code=process.returncode, out=out, err=err))
    assert run.code == 3, str(run)
    good = {"sync-cluster": "synchronised", "start-cluster": "started"}[command]
    assert statuses(run) == {"web1": good, "web2": "failed", "web3": good}, str(run)
    assert "interrupted" in run.row("web2")["error"]["message"]
    assert run.row("web2")["error"]["hint"]
    cluster.nodes["n2"].resume()
    decent(cluster.json(command, "web"))
    same(cluster, "web1", "web2", "web3")
    cluster.json("stop-cluster", "web")


def test_interrupted_twice_ends_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    process = cluster.start("sync-cluster", "web", "--timeout", "50")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    assert process.returncode != 0
    decent(Run(code=process.returncode, out=out, err=err))


def test_a_port_where_something_else_listens(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    port = free_port()
    cluster.edit_yaml(f"port: {cluster.nodes['n1'].port}", f"port: {port}")
    server = subprocess.Popen(
        [shutil.which("python3") or "python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cluster.root,
    )  # fmt: skip
    try:
        time.sleep(0.5)
        refused(cluster, "sync-cluster", "web", "--timeout", "3", code=4)
    finally:
        server.kill()
        server.wait()


def test_interrupted_in_the_middle_of_a_transfer(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    cluster.json("sync-cluster", "web")
    for number in range(10):
        cluster.write(f"docroot/big{number}", os.urandom(10 * MIB))
    staging = cluster.folder("web1") / ".dasctl/staging"
    before = tree_of(cluster.folder("web1") / "docroot")
    process = cluster.start("sync-cluster", "web")
    wait_until(lambda: any(len(name) == 64 for name in listing_of(staging)))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run_ = decent(Run(code=process.returncode, out=out, err=err))
    assert run_.code == 1, str(run_)
    assert "interrupted" in err
    assert "web[1-2]" in err or ("web1" in err and "web2" in err)
    assert "run the command again" in err
    assert tree_of(cluster.folder("web1") / "docroot") == before
    cluster.json("sync-cluster", "web")
    same(cluster, "web1", "web2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_at_any_moment(make: Callable[..., Cluster], number: signal.Signals) -> None:
    """An end by the signal and nothing said, or one document; never the program's insides."""
    cluster = make(1)
    for turn in range(12):
        cluster.write("docroot/index.html", str(turn))
        process = cluster.start("--json", "sync-cluster", "web")
        time.sleep(0.03 + 0.05 * turn)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        run_ = Run(code=process.returncode, out=out, err=err)
        assert run_.code in (-number, 0, 1), str(run_)
        assert "in main\n" not in err, str(run_)  # before that, Python itself is starting
        if "KeyboardInterrupt" in err and "/dasctl/" not in "".join(re.findall('File "(.*)"', err)):
            continue  # it could not even import what runs modules
        if out:
            assert run_.json["command"] == "sync-cluster"
        else:
            assert run_.code == -number, str(run_)
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")

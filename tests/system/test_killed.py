"""dasctl and its helper are killed at many moments: nothing is half, and the next command finishes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore
from tests.system.cluster import Cluster, make_cluster, rsync_finds, tree_of
from tests.system.failing import decent
from tests.system.sshd import Sshd, SshSetting

KILLS = 21
MOST_TURNS = 3 * KILLS  # on a loaded machine fewer kills hit: then there are more of them
AREAS = ("docroot", "lib", "applications/hello")


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Cluster]:
    made = make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])
    for number in range(40):
        made.write(f"docroot/pages/{number}.html", f"page {number} of 0\n" * 200)
    yield made
    made.run("stop-cluster", "web", "--kill")


def changed(cluster: Cluster, turn: int) -> None:
    """Files that are new, changed, moved and gone, so that every kind of operation is under way."""
    for number in range(0, 40, 2):
        cluster.write(f"docroot/pages/{number}.html", f"page {number} of {turn}\n" * 200)
    cluster.write(f"docroot/turn{turn}/deep/er.txt", f"{turn}")
    cluster.write("docroot/index.html", f"turn {turn}\n")
    cluster.write(f"lib/{turn}.bin", os.urandom(200_000))
    before = cluster.root / f"lib/{turn - 1}.bin"
    if before.exists():
        before.rename(cluster.root / f"docroot/moved{turn - 1}.bin")


def whole(cluster: Cluster) -> None:
    """domain.yaml is valid and the history opens, whatever was killed."""
    YamlStore(cluster.root).load()
    for database in (cluster.root / ".dasctl").glob("*.db"):
        with sqlite3.connect(database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def old_or_new(cluster: Cluster, before: dict[bytes, tuple[object, ...]], instance: str) -> None:
    """Every file on the node is the one before, or the repository's."""
    one_of(cluster, [before, tree_of(cluster.root / "docroot")], instance)


def one_of(cluster: Cluster, trees: list[dict[bytes, tuple[object, ...]]], instance: str) -> None:
    """Every file on the node is as it was in one of these."""
    for path, seen in tree_of(cluster.folder(instance) / "docroot").items():
        if seen[0] == "file":
            contents = [tree[path][3] for tree in trees if path in tree and tree[path][0] == "file"]
            assert seen[3] in contents, f"{path!r} is neither the old nor the new one"


def settled(cluster: Cluster) -> None:
    """The next command finishes, the one after it has nothing to do, and the trees are the repository's."""
    run = decent(cluster.run("--json", "sync-cluster", "web"))
    assert run.code == 0, str(run)
    for instance in ("web1", "web2"):
        for area in AREAS:
            source, target = cluster.root / area, cluster.folder(instance) / area
            assert tree_of(target) == tree_of(source), area
        assert os.listdir(cluster.folder(instance) / ".dasctl/staging") == []
        assert not (cluster.folder(instance) / ".dasctl/journal").exists()


def killed(cluster: Cluster, words: tuple[str, ...], after_s: float) -> int:
    """Run `dasctl WORDS` and kill it (SIGKILL) after so long; its exit status."""
    process = cluster.start(*words)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode


def helpers_ended(cluster: Cluster) -> None:
    """Wait for helpers of a command that was killed: one that had heard all finishes its commit. An `ssh` of that command
    may be about to start one: it brings to the node what it was given before.
    """
    homes = [os.fsencode(f"HOME={server.home}") for server in cluster.nodes.values()]
    ports = [str(server.port).encode() for server in cluster.nodes.values()]
    deadline = time.monotonic() + 60
    for _ in range(2):  # between the two looks, what an ssh had begun when it ended is there to be seen
        while any(_is_under_way(pid, homes, ports) for pid in os.listdir("/proc") if pid.isdigit()):
            assert time.monotonic() < deadline, "a helper goes on and on"
            time.sleep(0.02)
        time.sleep(0.05)


def _is_under_way(pid: str, homes: list[bytes], ports: list[bytes]) -> bool:
    """Whether that process is a helper in one of these homes, or an ssh on its way to one of these ports."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if b"sys.stdin.buffer" not in command:
        return False
    words = command.split(b"\0")
    return any(home in environment for home in homes) or any(port in words for port in ports)


def test_dasctl_is_killed_while_it_synchronises(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    began = time.monotonic()
    cluster.json("sync-cluster", "web")
    whole_s = time.monotonic() - began
    cut = 0
    for turn in range(1, MOST_TURNS + 1):
        if turn > KILLS and cut > KILLS // 4:
            break
        helpers_ended(cluster)
        before = {name: tree_of(cluster.folder(name) / "docroot") for name in ("web1", "web2")}
        changed(cluster, turn)
        # Most of a command is its start: the second half is where things happen.
        status = killed(cluster, ("sync-cluster", "web"), whole_s * (0.3 + 0.65 * (turn % KILLS + 1) / KILLS))
        cut += status == -signal.SIGKILL
        whole(cluster)
        for name in ("web1", "web2"):
            old_or_new(cluster, before[name], name)
        if turn % 3 == 0:
            settled(cluster)
    settled(cluster)
    assert cut > KILLS // 4, "hardly any was killed in its course"
    assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot", "--checksum") == ""
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"


def test_dasctl_is_killed_while_it_starts_servers(cluster: Cluster) -> None:
    cluster.json("start-cluster", "web")
    cluster.json("stop-cluster", "web")
    cut = 0
    for turn in range(5):
        status = killed(cluster, ("start-cluster", "web"), 0.3 + 0.12 * turn)
        cut += status == -signal.SIGKILL
        whole(cluster)
        # Each server runs once or not at all, and is known.
        assert decent(cluster.run("--json", "start-cluster", "web")).code == 0
        rows = cluster.json("list-instances").json["results"]
        assert [row["state"] for row in rows] == ["running", "running"]
        pids = {row["pid"] for row in rows}
        assert serving(cluster) == pids
        assert cluster.json("stop-cluster", "web").json["status"] == "ok"
        assert serving(cluster) == set()
    assert cut > 1


def serving(cluster: Cluster) -> set[int]:
    """The processes of this cluster's servers."""
    found = set()
    homes = [os.fsencode(server.home) for server in cluster.nodes.values()]
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
            place = os.fsencode(os.readlink(f"/proc/{entry}/cwd"))
        except OSError:
            continue
        if b"serve.py" in words and any(place.startswith(home) for home in homes):
            found.add(int(entry))
    return found


def test_dasctl_is_killed_while_it_edits_the_domain(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    began = time.monotonic()
    cluster.json(*created(0))
    whole_s = time.monotonic() - began
    made = cut = 0
    for turn in range(1, MOST_TURNS + 1):
        if turn > KILLS and made and cut > KILLS // 4:
            break
        # Most of a command is its start: the later part is where things happen, and the last ones are to end in time.
        status = killed(cluster, created(turn), whole_s * (0.3 + 0.9 * (turn % KILLS + 1) / KILLS))
        cut += status == -signal.SIGKILL
        whole(cluster)
        domain = YamlStore(cluster.root).load()
        made = len(domain.instances) - 3
        assert set(domain.instances) <= {"web1", "web2", *(f"extra{number}" for number in range(turn + 1))}
    assert made > 0, "all were killed before they had done anything"
    assert cut > KILLS // 4, "hardly any was killed in its course"
    assert decent(cluster.run("history")).code == 0
    assert decent(cluster.run("verify-domain")).code == 0
    left = [path.name for path in (cluster.root / "config").iterdir()]
    cluster.json(
        "create-instance", "last", "--node", "n1", "--cluster", "web", "--property", "http.port=6000"
    )
    cluster.json("sync-instance", "web1,web2")
    for name in left:
        assert name in ("domain.yaml", "logging.properties") or name.startswith("."), left
    # What a killed command left beside domain.yaml travels to no node.
    assert set(os.listdir(cluster.folder("web1") / "config")) == {"domain.yaml", "logging.properties"}


def created(number: int) -> tuple[str, ...]:
    place = ("--node", "n1", "--cluster", "web", "--property", f"http.port={5000 + number}")
    return ("create-instance", f"extra{number}", *place)


HELPERS = """\
import os, sys, time
# Kills every python3 whose ancestor is the given process and that is a child of a shell of sshd, after a while.
root, after = int(sys.argv[1]), float(sys.argv[2])
def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found += [int(p) for p in open(f"/proc/{pid}/task/{task}/children").read().split()]
        except OSError:
            pass
    return found
def helpers(pid):
    for child in children(pid):
        try:
            name = open(f"/proc/{child}/comm").read().strip()
        except OSError:
            continue
        if name.startswith("python"):
            yield child
        else:
            yield from helpers(child)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    try:
        found = list(helpers(root))
    except OSError:
        continue
    if found:
        time.sleep(after)
        for pid in found:
            try:
                os.kill(pid, 9)
                print("killed", flush=True)
            except OSError:
                pass
        break
"""


def test_the_helper_is_killed(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    cut, trees = 0, [tree_of(cluster.folder("web1") / "docroot")]
    for turn in range(1, MOST_TURNS + 1):
        if turn > KILLS and cut > KILLS // 4:
            break
        changed(cluster, turn)
        # A commit that a turn before began is finished first: then this turn's old one is that turn's new one.
        trees.append(tree_of(cluster.root / "docroot"))
        after_s = 0.002 + 0.006 * (turn % KILLS + 1)
        killer = subprocess.Popen(
            [sys.executable, "-c", HELPERS, str(cluster.nodes["n1"].pid), str(after_s)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        run = decent(cluster.run("--json", "sync-cluster", "web"))
        out, _ = killer.communicate(timeout=30)
        if run.code:
            cut += 1
            assert "killed" in out, str(run)
            assert run.code == 3, str(run)
            row = run.row("web1")
            assert row["status"] in ("unreachable", "failed")
            assert row["error"]["message"]
            assert row["error"]["hint"], str(run)
            assert run.row("web2")["status"] == "synchronised"
        one_of(cluster, trees, "web1")
        whole(cluster)
        if turn % 3 == 0:
            settled(cluster)
            trees = trees[-1:]
    settled(cluster)
    assert cut > KILLS // 4, "hardly any was killed in its course"

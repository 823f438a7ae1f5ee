"""Going back through the real command line: real nodes, running servers, and a kill on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.cluster import SERVER, Cluster, make_cluster, rsync_finds, tree_of
from tests.system.sshd import Sshd, SshSetting

AREAS = ("docroot", "lib", "applications/hello")


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Cluster]:
    made = make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])
    yield made
    made.run("stop-cluster", "web", "--kill")


def page(cluster: Cluster, instance: str, path: str = "") -> str:
    """What the instance's server says; its status where it refuses."""
    own = json.loads((cluster.folder(instance) / "config/domain.yaml").read_text())
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{own['properties']['http.port']}/{path}", timeout=10
        ) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)


def same(cluster: Cluster, instance: str) -> None:
    for area in AREAS:
        source, target = cluster.root / area, cluster.folder(instance) / area
        assert tree_of(target) == tree_of(source)
        assert rsync_finds(source, target) == ""


def states(cluster: Cluster) -> list[tuple[str, bool]]:
    rows = cluster.json("list-instances").json["results"]
    return [(row["state"], row["requires_restart"]) for row in rows]


def test_running_servers_get_back_what_they_had(cluster: Cluster) -> None:
    cluster.json("start-cluster", "web")
    then = tree_of(cluster.root)
    pids = {row["instance"]: row["pid"] for row in cluster.json("list-instances").json["results"]}

    # A page, and an application that refuses to answer as it should.
    cluster.write("docroot/index.html", "<h1>broken</h1>\n")
    cluster.write("docroot/late.html", "late\n")
    refusing = "def no(self):\n    self.send_error(503)\nPage.do_GET = no\n"
    cluster.write("applications/hello/serve.py", SERVER.replace("server = ", refusing + "server = "))
    cluster.edit_yaml("timeout: 30s", "timeout: 3s")
    cluster.run("restart-cluster", "web")
    assert page(cluster, "web1") == "503"

    looked = cluster.json("rollback", "--to", "1", "--dry-run")
    assert {change["path"] for change in looked.json["results"][0]["changes"]} >= {
        "docroot/index.html", "docroot/late.html", "applications/hello/serve.py", "config/domain.yaml",
    }  # fmt: skip
    back = cluster.json("rollback", "--to", "1")
    assert back.json["revision"] == 3
    assert page(cluster, "web1") == page(cluster, "web2") == "<h1>hello</h1>\n"
    assert page(cluster, "web1", "late.html") == "404"
    assert states(cluster) == [("running", False), ("running", False)]
    now = {row["instance"]: row["pid"] for row in cluster.json("list-instances").json["results"]}
    assert not set(pids.values()) & set(now.values()), "what they run with went back, so they were restarted"
    mine = {path: seen for path, seen in tree_of(cluster.root).items() if not path.startswith(b".dasctl")}
    assert mine == {path: seen for path, seen in then.items() if not path.startswith(b".dasctl")}
    for instance in ("web1", "web2"):
        same(cluster, instance)
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"
    told = cluster.json("history").json["results"]
    assert [row["revision"] for row in told] == [3, 2, 1]
    assert told[0]["summary"].startswith("rolled back to revision 1: ")
    assert cluster.json("diff", "1", "3").json["status"] == "unchanged"
    assert cluster.run("diff", "2", "3", "docroot").code == 7


def test_a_diff_is_one_that_patch_applies(cluster: Cluster, tmp_path: Path) -> None:
    cluster.write("docroot/a b.html", "one\ntwo\nthree\n")
    cluster.json("sync-cluster", "web")
    before = tmp_path / "before"
    subprocess.run(["cp", "-a", cluster.root, before], check=True)
    cluster.write("docroot/a b.html", "one\n2\nthree\nfour")
    cluster.write("docroot/new.html", "new\n")
    (cluster.root / "docroot/index.html").unlink()
    diff = cluster.run("diff", "1")
    assert diff.code == 7
    subprocess.run(["patch", "-p1", "-s"], input=diff.out, text=True, cwd=before, check=True)
    for name in ("a b.html", "new.html"):
        assert (before / "docroot" / name).read_bytes() == (cluster.root / "docroot" / name).read_bytes()
    assert not (before / "docroot/index.html").exists()


def test_a_real_kill_on_the_way_is_finished_by_the_next_command(cluster: Cluster) -> None:
    for number in range(300):
        cluster.write(f"docroot/pages/{number % 7}/page-{number}.html", f"page {number}\n")
    cluster.json("sync-cluster", "web")
    then = tree_of(cluster.root / "docroot")
    for number in range(300):
        cluster.write(f"docroot/pages/{number % 7}/page-{number}.html", f"other {number}\n")
    cluster.write("docroot/more/new.html", "new\n")
    cluster.json("sync-cluster", "web")
    now = tree_of(cluster.root / "docroot")

    journal = cluster.root / ".dasctl" / "making" / "journal"
    rolling_back = cluster.start("rollback", "--to", "1")
    try:
        deadline = time.monotonic() + 60
        while not journal.exists() and rolling_back.poll() is None and time.monotonic() < deadline:
            pass
    finally:
        os.kill(rolling_back.pid, signal.SIGKILL)
        rolling_back.communicate()
    half = tree_of(cluster.root / "docroot")
    cluster.json("sync-cluster", "web")
    after = tree_of(cluster.root / "docroot")
    assert after in (then, now), "half of it"
    assert not journal.parent.exists()
    same(cluster, "web1")
    if rolling_back.returncode == -signal.SIGKILL and half not in (then, now):
        assert after == then, "a change that had begun is rolled forward"

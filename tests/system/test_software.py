"""Releases of software over real sshds, with real servers: installed, switched with ready checks, taken back, removed."""

from __future__ import annotations

import os
import re
import signal
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.operations.software import packed
from tests.system.cluster import Cluster, make_cluster, tree_of
from tests.system.sshd import Sshd, SshSetting

START = "exec ${node.software}/bin/server ${http.port}"
READY = 'ready: {http: "http://127.0.0.1:${http.port}/", timeout: 4s}'
# A shell script that leaves the work to the file beside it, as bin/catalina.sh does.
SERVER = '#!/bin/sh\nexec python3 "$DASCTL_NODE_SOFTWARE/lib/serve.py" {where} {version}\n'
SERVE = """\
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


def release(folder: Path, version: str, where: str = "$1", **more: bytes) -> str:
    """A release whose servers tell its version, at `where`."""
    script = SERVER.format(where=where, version=version)
    files: dict[str, str | bytes] = {"bin/server": script, "lib/serve.py": SERVE, **more}
    return str(packed(folder / f"app-{version}.tar.gz", files, top=f"app-{version}"))


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Cluster]:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")], start=START, more=READY)
    yield cluster
    cluster.run("stop-cluster", "web", "--kill")


def said(cluster: Cluster, name: str) -> str:
    """The version that the server of an instance tells."""
    found = re.search(rf"{name}: .*http.port: (\d+)", cluster.yaml().read_text())
    assert found is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=10) as page:
        return str(page.read().decode())


def test_a_jdk_s_life(cluster: Cluster, tmp_path: Path) -> None:
    shared = os.urandom(400_000)
    installed = cluster.json(
        "install-node", "*", "--archive", release(tmp_path, "1", shared=shared), "--version", "1"
    )
    assert [row["current"] for row in installed.json["results"]] == ["1", "1"]
    cluster.json("start-cluster", "web")
    assert (said(cluster, "web1"), said(cluster, "web2")) == ("1", "1")

    second = cluster.json(
        "install-node", "n[1-2]", "--archive", release(tmp_path, "2", shared=shared), "--version", "2"
    )
    assert all(row["bytes_sent"] < 20_000 and row["copied"] for row in second.json["results"])
    assert said(cluster, "web1") == "1"
    upgraded = cluster.json("upgrade-node", "*", "--version", "2", "--rolling")
    assert [row["restarted"] for row in upgraded.json["results"]] == [["web1"], ["web2"]]
    assert (said(cluster, "web1"), said(cluster, "web2")) == ("2", "2")

    # Its servers listen elsewhere: they never become ready.
    cluster.json("install-node", "*", "--archive", release(tmp_path, "3", where="0"), "--version", "3")
    failed = cluster.json("upgrade-node", "*", "--version", "3", "--rolling", code=1)
    assert "not ready within 4s" in failed.row("n1")["error"]["message"]
    assert "back to 2; web1 runs with it again" in failed.row("n1")["error"]["message"]
    assert failed.row("n2")["status"] == "skipped"
    assert (said(cluster, "web1"), said(cluster, "web2")) == ("2", "2")
    assert [row["software"] for row in cluster.json("list-nodes").json["results"]] == ["2", "2"]

    refused = cluster.json("uninstall-node", "*", "--version", "2", code=1)
    assert "current release, and web1 runs with it" in refused.row("n1")["error"]["message"]
    cluster.json("uninstall-node", "*", "--version", "1")
    listed = cluster.json("list-nodes", "--long").row("n1")
    assert (listed["installed"], listed["current"]) == (["2", "3"], "2")
    assert cluster.json("list-instances").row("web1")["software"] == "2"


def test_an_installation_that_was_killed_is_finished_by_the_next(cluster: Cluster, tmp_path: Path) -> None:
    cluster.json("install-node", "n1", "--archive", release(tmp_path, "1"), "--version", "1")
    large = release(tmp_path, "2", **{f"lib/{number}.jar": os.urandom(1 << 19) for number in range(16)})
    process = cluster.start("install-node", "n1", "--archive", large, "--version", "2", "--limit", "2M")
    staging = cluster.nodes["n1"].home / "das/software/.dasctl/staging"
    deadline = time.monotonic() + 60
    while not (staging.exists() and len(list(staging.iterdir())) > 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (cluster.nodes["n1"].home / "das/software/current").readlink() == Path("releases/1")
    assert "app-2.tar.gz" not in cluster.yaml().read_text()
    done = cluster.json("install-node", "n1", "--archive", large, "--version", "2")
    assert done.row("n1")["bytes_sent"] < 8 << 20  # what had come was not sent again
    files = tree_of(cluster.nodes["n1"].home / "das/software/releases/2")
    assert sum(1 for entry in files.values() if entry[0] == "file") == 18


def test_a_folder_that_the_nodes_user_does_not_own_is_used_read_only(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "usr-lib-app"
    with tarfile.open(release(tmp_path, "deb")) as tar:
        tar.extractall(folder, filter="data")
    before = tree_of(folder)
    cluster.json("install-node", "*", "--folder", str(folder / "app-deb"), "--version", "deb")
    cluster.json("start-instance", "web1")
    assert said(cluster, "web1") == "deb"
    assert cluster.json("list-instances").row("web1")["software"] == "deb"
    assert tree_of(folder) == before
    (folder / "app-deb/lib/extra").write_text("an update of the package")
    note = cluster.json("list-nodes", "--long").row("n2")["note"]
    assert "has changed since release deb was installed" in note

"""Looking, diffing and bundles through the real command line and a real OpenSSH server, as the how-to pages tell it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster, tree_of
from tests.system.sshd import Sshd, SshSetting

DIFFERS = 7


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])


def test_what_somebody_changed_is_listed_shown_and_taken_over(cluster: Cluster) -> None:
    cluster.write("docroot/many.txt", "".join(f"line {number}\n" for number in range(40)))
    cluster.write("docroot/latin1.txt", "gr\xfc\xdfe\n".encode("latin-1"))
    cluster.json("sync-cluster", "web")
    assert cluster.run("list-deviations").out == "no deviations: web[1-2]\n"
    there = cluster.folder("web1") / "docroot"
    (there / "many.txt").write_text("".join(f"line {number}\n" for number in range(40) if number != 7))
    (there / "latin1.txt").write_bytes("gr\xfc\xdf dich\n".encode("latin-1"))
    (there / "index.html").unlink()
    (there / "added file").write_text("added")
    listed = cluster.json("list-deviations", "web", code=DIFFERS).json
    assert {(row["instance"], row["path"], row["kind"]) for row in listed["results"]} == {
        ("web1", "docroot/many.txt", "changed"), ("web1", "docroot/latin1.txt", "changed"),
        ("web1", "docroot/index.html", "missing"), ("web1", "docroot/added file", "extra"),
    }  # fmt: skip

    shown = subprocess.run(
        [sys.executable, "-m", "dasctl", "--domain", str(cluster.root), "diff-instance", "web1", "docroot"],
        env={**os.environ, **cluster.env}, capture_output=True, timeout=120,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (DIFFERS, b"")
    applied = subprocess.run(
        ["patch", "-p1", "--binary"], cwd=cluster.root, input=shown.stdout, capture_output=True, timeout=60
    )
    assert applied.returncode == 0, applied.stdout
    assert {path: seen[-1] for path, seen in tree_of(cluster.root / "docroot").items()} == {
        path: seen[-1] for path, seen in tree_of(there).items()
    }
    assert cluster.run("diff-instance", "web1", "docroot").out == ""


def test_a_spoilt_file_is_found_by_its_content_alone(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    spoilt = cluster.folder("web1") / "lib/common.txt"
    kept = spoilt.stat()
    spoilt.write_text("c0mmon\n")
    os.utime(spoilt, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert cluster.json("list-deviations").json["results"] == []
    assert cluster.json("list-deviations", "--verify", code=DIFFERS).row("web1")["path"] == "lib/common.txt"
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"
    assert cluster.json("sync-cluster", "web", "--verify").row("web1")["files_changed"] == 1
    assert spoilt.read_text() == "common\n"


def test_a_dry_run_tells_the_bytes_that_then_travel(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    cluster.write("docroot/new.bin", os.urandom(200_000))
    cluster.write("docroot/index.html", "<h1>changed</h1>\n")
    told = cluster.json("sync-cluster", "web", "--dry-run", "--diff").row("web1")
    assert {change["path"]: change["why"] for change in told["changes"]} == {
        "docroot/new.bin": "new", "docroot/index.html": "content",
    }  # fmt: skip
    assert sum(change["bytes"] for change in told["changes"]) == told["bytes_to_send"]
    diffs = {change["path"]: change.get("diff", "") for change in told["changes"]}
    assert "-<h1>hello</h1>\n+<h1>changed</h1>\n" in diffs["docroot/index.html"]
    assert (
        "Binary files /dev/null and b/docroot/new.bin differ (not there and 200,000 bytes)"
        in diffs["docroot/new.bin"]
    )
    sent = cluster.json("sync-cluster", "web").row("web1")["bytes_sent"]
    assert told["bytes_to_send"] <= sent < told["bytes_to_send"] + 3000


def test_a_node_off_the_line_gets_a_bundle_and_is_known_when_it_is_back(cluster: Cluster) -> None:
    """docs/how-to/offline.md, on a node whose sshd is off, with its own python3 and nothing else."""
    cluster.nodes["n2"].stop()
    file = cluster.root.parent / "n2.bundle"
    exported = cluster.run("export-sync-bundle", "node:n2", str(file))
    assert exported.out.splitlines()[1] == f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}"
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    environment = {"HOME": str(cluster.nodes["n2"].home), "PATH": "/usr/bin:/bin"}

    def on_node(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, str(file), *words], env=environment, cwd="/", capture_output=True, text=True, timeout=120
        )

    assert "web2  new  docroot/index.html" in on_node("--dry-run").stdout
    assert not cluster.folder("web2").exists()
    assert on_node().stdout == "web2  synchronised  5 files\nrevision 1 of the domain shop\n"
    assert tree_of(cluster.folder("web2") / "docroot") == tree_of(cluster.root / "docroot")

    cluster.write("docroot/index.html", "<h1>later</h1>\n")
    assert cluster.run("export-sync-bundle", "node:n2", str(file), "--since", "1").code == 0
    assert json.loads(on_node("--json").stdout)["results"][0]["files_changed"] == 1
    assert on_node("--quiet").stdout == ""

    subprocess.run(
        ["chown", "-R", f"{cluster.nodes['n2'].user}:", str(cluster.folder("web2").parent)], check=True
    )
    cluster.nodes["n2"].start()
    assert cluster.json("sync-instance", "web2").row("web2")["status"] == "unchanged"
    assert cluster.json("list-instances", "web2").row("web2")["revision"] == 2

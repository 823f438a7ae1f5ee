"""Mass deletions on a real terminal: the question, its answers, and Ctrl-C."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import DASCTL, Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting
from tests.system.terminal import CTRL_C, on_terminal


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])


def typed(cluster: Cluster, answer: str, *words: str) -> tuple[int, str]:
    command = [*DASCTL, "--domain", str(cluster.root), *words]
    return on_terminal(
        command, [("[y/N] ", answer)], env={**os.environ, **cluster.env, "TERM": "xterm"}, cwd=cluster.root
    )


def test_somebody_at_a_terminal_is_asked_once(cluster: Cluster) -> None:
    for number in range(150):
        cluster.write(f"docroot/p{number}", f"page {number}\n")
    cluster.json("sync-cluster", "web")
    shutil.rmtree(cluster.root / "docroot")
    page = cluster.folder("web1") / "docroot/p1"
    for answer, code in (("n", 1), ("", 1), (CTRL_C, 1)):
        ended, shown = typed(cluster, answer, "sync-cluster", "web")
        assert ended == code, shown
        assert shown.count("Go on?") == 1 and "all of docroot" in shown
        assert ("interrupted before anything was sent" if answer == CTRL_C else "nothing was sent") in shown
        assert "Fatal" not in shown and "Traceback" not in shown
        assert page.exists()
    ended, shown = typed(cluster, "y", "sync-cluster", "web")
    assert ended == 0, shown
    assert not page.exists() and not (cluster.folder("web2") / "docroot/p1").exists()


def test_without_a_terminal_nothing_is_sent(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    shutil.rmtree(cluster.root / "docroot")
    refused = cluster.json("start-cluster", "web", code=1)
    assert "--yes" in refused.json["error"]["hint"] and refused.json["results"] == []
    assert (cluster.folder("web1") / "docroot/index.html").exists()

"""What is set reaches real servers: told before, brought by a synchronisation, taken over by a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Cluster]:
    made = make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])
    yield made
    made.run("stop-cluster", "web", "--kill")


def restarts(cluster: Cluster) -> dict[str, bool]:
    rows = cluster.json("list-instances", "web").json["results"]
    return {row["instance"]: bool(row["requires_restart"]) for row in rows}


def test_a_value_that_is_set_reaches_the_servers_that_it_is_for(cluster: Cluster) -> None:
    cluster.json("start-cluster", "web")
    lines = cluster.yaml().read_text().splitlines()
    ran = cluster.json("set", "instances.web1.property.theme=0644", "domain.revisions=30")
    assert (ran.json["sync"], ran.json["restart"]) == (["web1"], ["web1"])
    now = cluster.yaml().read_text().splitlines()
    assert len([line for line in lines if line not in now]) <= 2, "\n".join(now)
    assert restarts(cluster) == {"web1": False, "web2": False}

    synchronised = cluster.json("sync-domain")
    assert synchronised.row("web1")["files_changed"] == 1
    assert synchronised.row("web2")["files_changed"] == 0
    assert '"theme": "0644"' in (cluster.folder("web1") / "config/domain.yaml").read_text()
    assert restarts(cluster) == {"web1": True, "web2": False}
    cluster.json("restart-cluster", "web")
    assert restarts(cluster) == {"web1": False, "web2": False}

    again = cluster.json("set", "instances.web1.property.theme=0644")
    assert (again.json["status"], again.json["revision"]) == ("unchanged", ran.json["revision"])
    got = cluster.json("get", "instances.web1.property.theme", "--origin").json["results"][0]
    assert (got["value"], got["level"], got["of"]) == ("0644", "instance", "web1")
    file, _, line = got["place"].partition(":")
    assert "theme" in (cluster.root / file).read_text().splitlines()[int(line) - 1]

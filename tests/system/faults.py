"""What tests of faults share: a cluster whose nodes fail, and what is asked of it afterwards."""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.cluster import LIMIT_S, Cluster, Run, make_cluster, rsync_finds, tree_of
from tests.system.failing import decent
from tests.system.sshd import Sshd, SshSetting

AREAS = ("docroot", "lib", "applications/hello")
MIB = 1 << 20

# What ends too late is late by the default limits (10 s and more), not by the time that a busy machine takes to start a
# process.
AT_ONCE_S = 8.0


def same(cluster: Cluster, *instances: str) -> None:
    for instance in instances:
        for area in AREAS:
            source, target = cluster.root / area, cluster.folder(instance) / area
            assert tree_of(target) == tree_of(source), instance
            assert rsync_finds(source, target) == ""


def statuses(run: Run) -> dict[str, str]:
    return {row["instance"]: row["status"] for row in run.json["results"]}


def ended(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=LIMIT_S)
    return decent(Run(code=process.returncode, out=out, err=err))


def patience(cluster: Cluster) -> int:
    """Seconds for --timeout, in which nodes beside a silent one answer on this machine, now. Asked before it is silent."""
    began = time.monotonic()
    cluster.json("ping-node-ssh")
    return max(2, math.ceil(3 * (time.monotonic() - began)))


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def listing_of(paths: Path) -> set[str]:
    return set(os.listdir(paths)) if paths.exists() else set()


def maker(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Callable[..., Cluster]:
    """`maker(…)(COUNT, **options)`: a cluster of so many nodes, whose sshds have these options."""

    def cluster(count: int, **options: str) -> Cluster:
        return make_cluster(tmp_path, ssh, [sshd_factory(f"n{n}", **options) for n in range(1, count + 1)])

    return cluster

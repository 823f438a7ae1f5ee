"""Those who are compared: rsync in a loop, all nodes at once, and dasctl. Each brings one tree to N nodes.

Each node of each contender has a folder of its own; all are behind one sshd.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from measure import Told
from nodes import Server

DOMAIN_YAML = """\
format: 1
domain:
  name: bench
  id: 6b1f2c1e-0d1a-4c53-9d0c-2f1f0a7c9b11
nodes:
{nodes}
configs:
  web-config:
    start: exec sleep 1000
clusters:
  web: {{config: web-config}}
instances:
{instances}
"""


class ContenderFailed(Exception):
    """A command failed: what it measured counts for nothing."""


class Contender(Protocol):
    """One way to bring the tree to the nodes."""

    @property
    def name(self) -> str:
        """As it stands in the table."""

    def synchronise(self) -> Told:
        """Bring the tree to all nodes."""

    def forget(self) -> None:
        """Remove what is on the nodes, and what is remembered about them."""

    def copies(self) -> list[Path]:
        """Where the tree is on each node."""


def _names(count: int) -> list[str]:
    return [f"w{number}" for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rsync:
    """`rsync FLAGS --delete` to each node, all at the same time."""

    flags: str
    server: Server
    source: Path
    target: Path
    nodes: int

    @property
    def name(self) -> str:
        return f"rsync {self.flags}"

    def synchronise(self) -> Told:
        running = [
            subprocess.Popen(
                ["rsync", self.flags, "--delete", "-e", f"ssh -F {self.server.ssh_config}",
                 f"{self.source}/", f"{name}:{self.target}/{name}/docroot/"],
                env=self.server.environment, stdin=subprocess.DEVNULL,
            )
            for name in _names(self.nodes)
        ]  # fmt: skip
        codes = [process.wait() for process in running]
        if any(codes):
            raise ContenderFailed(f"{self.name} ended with exit codes {codes}")
        return Told()

    def forget(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
        for name in _names(self.nodes):
            self.server.own(self.target / name)

    def copies(self) -> list[Path]:
        return [self.target / name / "docroot" for name in _names(self.nodes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dasctl:
    """`dasctl sync-cluster web`, for a domain whose docroot is the tree."""

    server: Server
    domain: Path
    target: Path
    nodes: int

    @property
    def name(self) -> str:
        return "dasctl"

    def synchronise(self) -> Told:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "dasctl"), "--json", "--domain", str(self.domain),
                 "sync-cluster", "web"],
                env=self.server.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        if process.returncode:
            raise ContenderFailed(f"dasctl ended with exit code {process.returncode}:\n{said[-3000:]}")
        trips = [row.get("round_trips") for row in json.loads(said)["results"]]
        return Told(
            round_trips=max((trip for trip in trips if trip is not None), default=None),
            memory=used.ru_maxrss * 1024,
        )

    def forget(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
        shutil.rmtree(self.domain / ".dasctl", ignore_errors=True)
        for name in _names(self.nodes):
            self.server.own(self.target / name)
        self._describe()

    def copies(self) -> list[Path]:
        return [self.target / name / name / "docroot" for name in _names(self.nodes)]

    def _describe(self) -> None:
        node = f"host: 127.0.0.1, port: {self.server.port}, user: {self.server.user}"
        key = self.server.folder / "key"
        names = _names(self.nodes)
        file = self.domain / "config" / "domain.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            DOMAIN_YAML.format(
                nodes="\n".join(f"  {n}: {{{node}, key: {key}, dir: {self.target}/{n}}}" for n in names),
                instances="\n".join(f"  {n}: {{node: {n}, cluster: web}}" for n in names),
            )
        )

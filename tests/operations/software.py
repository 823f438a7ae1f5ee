"""A domain on this disk whose nodes are helpers in memory, for releases of software; servers are real processes."""

from __future__ import annotations

import asyncio
import io
import os
import shlex
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dasctl.adapters.archives import FileArchives
from dasctl.adapters.clock import SystemClock
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.releases import FolderReleases
from dasctl.adapters.rollouts import UPGRADING, FolderRollouts
from dasctl.adapters.store import YamlStore
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.cli.call import Call, Settings
from dasctl.cli.main import run
from dasctl.core.domain import Domain
from dasctl.core.exchange import Event, Who
from dasctl.core.outcome import Outcome, failed
from dasctl.errors import DasctlError, NodeError, NodeUnreachable
from dasctl.operations.ports import Context

TEXT = """\
format: 1
domain:
  name: shop
  id: 11111111-2222-4333-8444-555555555555
nodes:
  n1: {{host: n1.example.com, dir: {nodes}/n1}}
  n2: {{host: n2.example.com, dir: {nodes}/n2}}
  n3: {{host: n3.example.com, dir: {nodes}/n3}}
configs:
  app-config:
    start: exec ${{node.software}}/bin/server
    ready: {{log: ^serving, timeout: 10s}}
    stop: {{grace: 5s}}
clusters:
  app: {{config: app-config}}
instances:
  app1: {{node: n1, cluster: app}}
  app2: {{node: n2, cluster: app}}
"""
GOOD = "#!/bin/sh\necho {version} >> served\necho serving {version}\nexec sleep 1000\n"
BAD = "#!/bin/sh\necho cannot start >&2\nexit 3\n"


def packed(path: Path, files: dict[str, str | bytes], top: str = "") -> Path:
    """A .tar.gz with these files; those in `bin` are executable."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(f"{top}/{name}" if top else name)
            info.size, info.mtime = len(data), 1_600_000_000
            info.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(data))
    return path


@dataclass(kw_only=True)
class Shop:
    """The domain; `run` carries out one command line and returns exit code and output."""

    base: Path
    errors: dict[str, NodeError] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes, self.root = self.base / "nodes", self.base / "shop"
        self.nodes.mkdir()
        (self.root / "config").mkdir(parents=True)
        self.file.write_text(TEXT.format(nodes=self.nodes))
        self.links = MemoryLinks(errors=self.errors)

    @property
    def file(self) -> Path:
        return self.root / "config/domain.yaml"

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def domain(self) -> Domain:
        return YamlStore(self.root, sleep=lambda seconds: None).load()

    def context(self, command: str, **more: Any) -> Context:
        return Context(
            store=YamlStore(self.root, sleep=lambda seconds: None), repository=FolderRepository(self.root),
            rollouts=FolderRollouts(self.root), switches=FolderRollouts(self.root, UPGRADING),
            working=FolderWorking(self.root), history=SqliteHistory(self.root), objects=FolderObjects(self.root),
            links=self.links, host_keys=None, clock=SystemClock(),  # type: ignore[arg-type]
            who=Who(user="anna", host="das", command=command), archives=FileArchives(),
            releases=FolderReleases(self.root), on_event=self.events.append, **more,
        )  # fmt: skip

    def run(self, line: str) -> tuple[int, str]:
        def carry_out(call: Call, settings: Settings, *, on_event: Any) -> Outcome:
            try:
                return asyncio.run(call.resolve()(self.context(line), **call.arguments))
            except DasctlError as error:
                return failed(call.command, error)

        screen = io.StringIO()
        code = run(shlex.split(line), out=screen, err=screen, runner=carry_out)
        return code, screen.getvalue()

    def good(self, line: str) -> str:
        code, shown = self.run(line)
        assert code == 0, shown
        return shown

    def release(self, version: str, server: str = GOOD, **more: str | bytes) -> Path:
        """An archive of a release whose `bin/server` is this script."""
        files: dict[str, str | bytes] = {"bin/server": server.replace("{version}", version), **more}
        return packed(self.base / f"app-{version}.tar.gz", files, top=f"app-{version}")

    def install(self, version: str, nodes: str = "n1 n2", **more: Any) -> str:
        return self.good(
            f"install-node {nodes} --archive {self.release(version, **more)} --version {version}"
        )

    def software(self, node: str) -> Path:
        return self.nodes / node / "software"

    def served(self, instance: str) -> list[str]:
        """The releases that the server of an instance was started from, in their order."""
        node = self.domain().instances[instance].node
        file = self.nodes / node / instance / "served"
        return file.read_text().split() if file.exists() else []

    def away(self, node: str) -> None:
        self.errors[node] = NodeUnreachable(f"node {node}: connection refused")

    def revision(self) -> int:
        head = SqliteHistory(self.root).head()
        assert head is not None
        return head.number


def current(shop: Shop, node: str) -> str | None:
    link = shop.software(node) / "current"
    return str(link.readlink()) if os.path.lexists(link) else None


Maker = Callable[[], Shop]

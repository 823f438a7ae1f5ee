"""A domain `shop` in a folder of its own, without nodes: for what changes the repository alone."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

from dasctl.adapters.clock import ManualClock
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.store import YamlStore
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.core.exchange import Who
from dasctl.operations.ports import Context
from dasctl.operations.recording import current
from dasctl.operations.rollback import rollback

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"
TEXT = f"""\
format: 1
domain: {{name: shop, id: {ID}, revisions: 200, exclude: ["*.tmp"]}}
nodes:
  n1: {{host: a.example.com}}
  n2: {{host: b.example.com}}
configs:
  web-config: {{start: serve, properties: {{http.size: 8080}}}}
  api-config: {{start: api}}
clusters:
  web: {{config: web-config}}
  api: {{config: api-config}}
instances:
  web1: {{node: n1, cluster: web}}
  web2: {{node: n2, cluster: web}}
  api1: {{node: n2, cluster: api}}
applications:
  hello: {{targets: [web]}}
  both: {{targets: [web, api]}}
"""
START = {
    "config/common.properties": b"common 1",
    "config/web-config/own": b"web 1",
    "config/api1-config/own": b"api 1",
    "applications/hello/app.py": b"hello 1",
    "applications/both/app.py": b"both 1",
    "lib/a.jar": b"jar 1",
    "docroot/index.html": b"page 1",
    "docroot/deep/er/page": b"deep 1",
}

Seen = dict[bytes, tuple[str, int, int, bytes]]  # kind, mode, modtime, content


class Shop:
    """A domain on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, data in {"config/domain.yaml": TEXT.encode(), **START}.items():
            self.write(name, data)

    def write(self, name: str | bytes, data: bytes, *, mtime: int | None = None) -> None:
        path = os.fsencode(self.root) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if mtime is not None:
            os.utime(path, ns=(mtime, mtime))

    def edit(self, old: str, new: str) -> None:
        text = self.yaml
        assert old in text
        self.write("config/domain.yaml", text.replace(old, new).encode())

    @property
    def yaml(self) -> str:
        return (self.root / "config/domain.yaml").read_text()

    def __getitem__(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def has(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    def ctx(self, **more: Any) -> Context:
        root = self.root
        return Context(
            store=YamlStore(root), repository=FolderRepository(root), working=FolderWorking(root),
            history=SqliteHistory(root), objects=FolderObjects(root), links=MemoryLinks(), clock=ManualClock(),
            host_keys=None, who=Who(user="anna", host="das", command="test"), **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def record(self) -> int:
        return current(self.ctx()).revision.number

    def rollback(self, to: int, *targets: str, **more: Any) -> Any:
        more = {"no_apply": True, **more}
        return asyncio.run(rollback(self.ctx(), to=to, targets=targets, **more))

    def seen(self) -> Seen:
        base = os.fsencode(self.root)
        found: Seen = {}
        for folder, folders, files in os.walk(base):
            if folder == base:
                folders.remove(b".dasctl") if b".dasctl" in folders else None
            for name in folders + files:
                path = folder + b"/" + name
                found[path[len(base) + 1 :]] = _seen(path)
        return found


def _seen(path: bytes) -> tuple[str, int, int, bytes]:
    stats = os.lstat(path)
    mode, mtime = stat.S_IMODE(stats.st_mode), stats.st_mtime_ns
    if stat.S_ISLNK(stats.st_mode):
        return "l", mode, mtime, os.readlink(path)
    if stat.S_ISDIR(stats.st_mode):
        return "d", mode, mtime, b""
    with open(path, "rb") as file:
        return "f", mode, mtime, file.read()


def changed_everywhere(shop: Shop) -> None:
    """Something else of every area, and of domain.yaml."""
    for name, data in START.items():
        shop.write(name, data.replace(b"1", b"2"))
    shop.edit("http.size: 8080", "http.size: 9090")
    shop.edit("start: api", "start: api2")

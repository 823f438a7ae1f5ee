"""Copies of a real domain folder, real instance folders, and what must hold between them.

What lives here: the moves and the checks. In which order they are made is decided by whoever tests (`test_model.py`).
The repository, the store and the history are the real ones, in a temporary folder, so that edits are noticed (or not)
as they are in life; links lead to the real helper in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dasctl.adapters.clock import ManualClock
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.store import YamlStore
from dasctl.adapters.streams import Fault
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.core.exchange import Who
from dasctl.core.outcome import Outcome, Result
from dasctl.core.stamps import Standing
from dasctl.errors import NodeError, NodeUnreachable
from dasctl.operations.ports import Context
from dasctl.operations.sync import sync
from dasctl.operations.take_over import take_over

DEFINITION = """\
format: 1
domain: {{name: shop, id: 11111111-2222-4333-8444-555555555555}}
nodes:
  n1: {{host: n1, dir: "{base}/n1"}}
  n2: {{host: n2, dir: "{base}/n2"}}
configs: {{web-config: {{start: exec true}}}}
clusters: {{web: {{config: web-config}}}}
instances:
  web1: {{node: n1, cluster: web}}
  web2: {{node: n2, cluster: web}}
  web3: {{node: n2, cluster: web}}
applications:
  hello: {{targets: [web]}}
"""
NODE_OF = {"web1": "n1", "web2": "n2", "web3": "n2"}
INSTANCES = tuple(NODE_OF)
AREAS = ("config", "applications", "lib", "docroot")
OWN_PART = "config/domain.yaml"  # of an instance: not a file of the repository
FOREIGN = "docroot/foreign"  # a path that no repository ever has
GOOD = ("synchronised", "unchanged")

Seen = dict[str, tuple[Any, ...]]


@dataclass(kw_only=True)
class Model:
    """Copies of the domain below `base`, by name, and the nodes' folders beside them."""

    base: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(dir=_fast_disk())))
    clock: ManualClock = field(default_factory=ManualClock)
    faults: dict[str, Fault] = field(default_factory=dict)
    errors: dict[str, NodeError] = field(default_factory=dict)
    foreign: dict[str, bytes] = field(default_factory=dict)  # instance to what its foreign file holds

    def __post_init__(self) -> None:
        root = self.root("das")
        for area in (*AREAS, "applications/hello"):
            (root / area).mkdir(parents=True)
        (root / "config" / "domain.yaml").write_text(DEFINITION.format(base=self.base))

    def close(self) -> None:
        for folder, _folders, _files in os.walk(self.base):
            os.chmod(folder, 0o755)
        shutil.rmtree(self.base)

    def root(self, das: str) -> Path:
        return self.base / f"domain-{das}"

    def instance(self, name: str) -> Path:
        return self.base / NODE_OF[name] / name

    # Commands.

    def sync(self, das: str, targets: Iterable[str] = ("web",), **options: Any) -> Outcome:
        """`sync-cluster` in the copy `das`; checks what must hold of its outcome."""
        before = {name: self.standing(name) for name in INSTANCES}
        held = {name: seen(self.instance(name)) for name in INSTANCES}
        outcome = self._run(das, lambda ctx: sync(ctx, list(targets), command="sync-cluster", **options))
        rows = {str(row.instance): row for row in outcome.results}
        for name, row in rows.items():
            self._check_verdict(das, name, row, before[name], held[name])
            if row.status == "refused":
                assert seen(self.instance(name)) == held[name], f"{name} was refused and changed"
        if options.get("full"):
            self._forget_foreign(name for name, row in rows.items() if row.status in GOOD)
        if options.get("deviations", "overwrite") == "overwrite":
            self._check_arrived(das, [name for name, row in rows.items() if row.status in GOOD])
        return outcome

    def take_over(self, das: str) -> Outcome:
        outcome = self._run(das, lambda ctx: take_over(ctx, ["web"]))
        rows = {str(row.instance): row for row in outcome.results}
        for name, row in rows.items():
            assert row.status in GOOD or self._troubled(name), row
        self._check_arrived(das, [name for name, row in rows.items() if row.status in GOOD])
        return outcome

    def _run(self, das: str, operation: Any) -> Outcome:
        root = self.root(das)
        self.clock.advance(1.0)
        links = MemoryLinks(faults=self.faults, errors=self.errors)
        history = SqliteHistory(root)
        ctx = Context(
            store=YamlStore(root), repository=FolderRepository(root), working=FolderWorking(root), history=history,
            objects=FolderObjects(root), links=links, clock=self.clock,
            host_keys=None, who=Who(user="anna", host=das, command="command"),  # type: ignore[arg-type]
            ask=lambda question: True,
        )  # fmt: skip
        try:
            outcome: Outcome = asyncio.run(operation(ctx))
        finally:
            history.close()
        return outcome

    # What must hold.

    def standing(self, name: str) -> dict[str, Any] | None:
        """The instance's own stamp, read from its file."""
        try:
            found: dict[str, Any] = json.loads((self.instance(name) / ".dasctl" / "state.json").read_bytes())
        except FileNotFoundError:
            return None
        return found

    def _troubled(self, name: str) -> bool:
        return NODE_OF[name] in self.faults or NODE_OF[name] in self.errors

    def _check_verdict(
        self, das: str, name: str, row: Result, before: dict[str, Any] | None, held: Seen
    ) -> None:
        """Refused exactly where somebody else was last: a copy does what its history knows, and nothing else."""
        if row.status == "not changed":  # together: somebody else could not
            assert seen(self.instance(name)) == held, f"{name} should not have changed"
            return
        if self._troubled(name) and row.status not in ("refused", *GOOD):
            assert row.status == "unreachable", row
            return
        expected = self._knows(das, before)
        assert (row.status != "refused") == expected, (das, name, before, row)
        assert row.status in (*GOOD, "refused", "failed"), row

    def _knows(self, das: str, before: dict[str, Any] | None) -> bool:
        if before is None:
            return True
        history = SqliteHistory(self.root(das))
        try:
            place = Standing(revision=before["revision"], digest=before["digest"])
            return before["epoch"] <= history.epoch() and history.find(place) is not None
        finally:
            history.close()

    def _check_arrived(self, das: str, names: list[str]) -> None:
        """The instances' areas are the repository's, foreign files are there, and nothing is left to do."""
        wanted = seen(self.root(das))
        for name in names:
            found = seen(self.instance(name))
            assert {path: what for path, what in found.items() if path in wanted} == wanted, name
            if name in self.foreign:
                assert (self.instance(name) / FOREIGN).read_bytes() == self.foreign[name]
        quiet = [name for name in names if not self._troubled(name)]
        if not quiet:
            return
        again = self._run(das, lambda ctx: sync(ctx, quiet, command="sync-instance"))
        for row in again.results:
            assert (row.status, row.fields["round_trips"]) == ("unchanged", 1), row
            assert row.fields["deviations"] == [], row

    def _forget_foreign(self, names: Iterable[str]) -> None:
        for name in names:
            self.foreign.pop(name, None)

    # What happens to domains and nodes.

    def copy_domain(self, name: str, of: str = "das") -> None:
        shutil.rmtree(self.root(name), ignore_errors=True)
        shutil.copytree(self.root(of), self.root(name), symlinks=True)

    def lose_history(self, das: str) -> None:
        for file in (self.root(das) / ".dasctl").glob("history*"):
            file.unlink()

    def lose_index(self, das: str) -> None:
        shutil.rmtree(self.root(das) / ".dasctl" / "index", ignore_errors=True)

    def lose_das_folder(self, das: str) -> None:
        """All that the DAS remembers is gone: history, objects, index."""
        shutil.rmtree(self.root(das) / ".dasctl", ignore_errors=True)

    def hurt_object(self, das: str, chance: random.Random, how: str) -> None:
        """One object is damaged, cut or lost."""
        objects = sorted(
            path for path in (self.root(das) / ".dasctl" / "objects").rglob("*") if path.is_file()
        )
        if not objects:
            return
        path = chance.choice(objects)
        data = path.read_bytes()
        path.chmod(0o600)
        match how:
            case "lost":
                path.unlink()
            case "cut":
                path.write_bytes(data[: len(data) // 2])
            case _:
                place = chance.randrange(len(data)) if data else 0
                path.write_bytes(data[:place] + bytes([data[place] ^ 1 if data else 1]) + data[place + 1 :])

    def remember_wrongly(self, das: str, chance: random.Random) -> None:
        """What the DAS believes of its instances is shuffled: standings and parts of one belong to another, or to none."""
        file = self.root(das) / ".dasctl" / "history.db"
        if not file.exists():
            return
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            rows = database.execute("SELECT number, digest FROM revisions").fetchall()
            parts = database.execute("SELECT instance, place, digest FROM acknowledged_parts").fetchall()
            for (name,) in database.execute("SELECT instance FROM acknowledged").fetchall():
                if rows and chance.random() < 0.5:
                    place = chance.choice(rows)
                    database.execute(
                        "UPDATE acknowledged SET revision = ?, digest = ? WHERE instance = ?", (*place, name)
                    )
            for instance, place, _digest in parts:
                if chance.random() < 0.5:
                    database.execute(
                        "UPDATE acknowledged_parts SET digest = ? WHERE instance = ? AND place = ?",
                        (chance.choice(parts)[2], instance, place),
                    )

    def forget_on_node(self, name: str) -> None:
        """What the node knows of an instance is gone; its files are there."""
        shutil.rmtree(self.instance(name) / ".dasctl", ignore_errors=True)

    def away(self, node: str) -> None:
        self.errors[node] = NodeUnreachable(f"node {node}: connection refused")

    def wipe_node(self, node: str) -> None:
        shutil.rmtree(self.base / node, ignore_errors=True)
        self._forget_foreign(name for name, where in NODE_OF.items() if where == node)

    def save(self, name: str) -> None:
        backup = self.base / f"backup-{name}"
        shutil.rmtree(backup, ignore_errors=True)
        if self.instance(name).exists():
            shutil.copytree(self.instance(name), backup, symlinks=True)

    def restore(self, name: str) -> None:
        backup = self.base / f"backup-{name}"
        if backup.exists():
            shutil.rmtree(self.instance(name), ignore_errors=True)
            shutil.copytree(backup, self.instance(name), symlinks=True)
            file = self.instance(name) / FOREIGN
            self._forget_foreign([name])
            if file.is_file():
                self.foreign[name] = file.read_bytes()

    def put_foreign(self, name: str, data: bytes) -> None:
        if (self.instance(name) / "docroot").is_dir():
            (self.instance(name) / FOREIGN).write_bytes(data)
            self.foreign[name] = data


def _fast_disk() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def seen(root: Path) -> Seen:
    """Path to (kind, mode, modtime in ns, content) of all areas below `root`; an instance's own part is left out."""
    found: Seen = {}
    for area in AREAS:
        if (root / area).is_dir():
            _see(root, area, found)
    found.pop(OWN_PART, None)
    return found


def _see(root: Path, path: str, found: Seen) -> None:
    full = root / path
    status = full.lstat()
    if stat.S_ISLNK(status.st_mode):
        found[path] = ("link", status.st_mtime_ns, os.readlink(full))
    elif stat.S_ISDIR(status.st_mode):
        found[path] = ("folder", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        for name in os.listdir(full):
            _see(root, f"{path}/{name}", found)
    else:
        found[path] = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, full.read_bytes())


# Edits: what people do to files, on the DAS and on nodes. Whatever does not apply is let be.


def clear(root: Path, path: str) -> None:
    full = root / path
    if full.is_symlink() or full.is_file():
        full.unlink()
    elif full.is_dir():
        shutil.rmtree(full)


def ready(root: Path, path: str) -> Path:
    """The place of `path`, empty, with folders on the way, whatever stood there."""
    steps = path.split("/")
    for end in range(1, len(steps)):
        above = root / "/".join(steps[:end])
        if above.is_symlink() or above.is_file():
            above.unlink()
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    clear(root, path)
    return root / path


def put_file(root: Path, path: str, data: bytes, mode: int) -> None:
    full = ready(root, path)
    full.write_bytes(data)
    full.chmod(mode)


def put_folder(root: Path, path: str, mode: int) -> None:
    full = ready(root, path)
    full.mkdir()
    full.chmod(mode)


def put_link(root: Path, path: str, target: str) -> None:
    ready(root, path).symlink_to(target)


def overwrite(root: Path, path: str, *, same_time: bool) -> None:
    """Other bytes of the same size, in place; with the old modtime where `same_time`."""
    full = root / path
    if full.is_file() and not full.is_symlink():
        status = full.stat()
        data = bytes((byte + 1) % 256 for byte in full.read_bytes())
        full.chmod(0o644)
        full.write_bytes(data)
        full.chmod(stat.S_IMODE(status.st_mode))
        if same_time:
            os.utime(full, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit_middle(root: Path, path: str, data: bytes) -> None:
    """Bytes are put in the middle of a file, as a build does that changes little."""
    full = root / path
    if full.is_file() and not full.is_symlink():
        mode, held = stat.S_IMODE(full.stat().st_mode), full.read_bytes()
        full.chmod(0o644)
        full.write_bytes(held[: len(held) // 2] + data + held[len(held) // 2 :])
        full.chmod(mode)


def rename(root: Path, path: str, to: str) -> None:
    nested = to.startswith(path + "/") or path.startswith(to + "/")
    if os.path.lexists(root / path) and to != path and not nested:
        (root / path).rename(ready(root, to))


def change_mode(root: Path, path: str, mode: int) -> None:
    full = root / path
    if os.path.lexists(full) and not full.is_symlink():
        full.chmod(mode | 0o700 if full.is_dir() else mode)


def change_time(root: Path, path: str, mtime: int) -> None:
    if os.path.lexists(root / path):
        os.utime(root / path, ns=(mtime, mtime), follow_symlinks=False)

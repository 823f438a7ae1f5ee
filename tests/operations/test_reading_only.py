"""What only looks needs neither the domain's lock nor leave to write: here by a user who may only read the domain."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.clock import ManualClock
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.store import YamlStore
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.core.exchange import Who
from dasctl.core.outcome import Outcome
from dasctl.operations.diff_instance import diff_instance
from dasctl.operations.list_deviations import list_deviations
from dasctl.operations.ports import Context
from dasctl.operations.sync import sync
from tests.operations.model import Model

NOBODY = 65534


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    made.base.chmod(0o755)
    root = made.root("das")
    (root / "docroot" / "index.html").write_text("one\n")
    (root / "lib" / "large").write_bytes(os.urandom(300_000))
    yield made
    made.close()


def context(model: Model) -> Context:
    root = model.root("das")
    return Context(
        store=YamlStore(root), repository=FolderRepository(root), history=SqliteHistory(root),
        working=FolderWorking(root),
        objects=FolderObjects(root), links=MemoryLinks(), clock=ManualClock(),
        host_keys=None, who=Who(user="eve", host="das", command="looking"),  # type: ignore[arg-type]
    )  # fmt: skip


def as_reader(model: Model, operation: Callable[[Context], Any]) -> str:
    """What `operation` came to, as somebody who may not write to the domain."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            outcome: Outcome = asyncio.run(operation(context(model)))
            said = f"{outcome.status} {int(outcome.exit_code)} {outcome.error and outcome.error.message}"
            said += "".join(f" {row.error.message}" for row in outcome.results if row.error)
            said += "".join(
                f" {row.instance}:{change['path']}"
                for row in outcome.results
                for change in (
                    *row.fields.get("changes", ()),
                    *([row.fields] if "path" in row.fields else ()),
                )
            )
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(send, said.encode())
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (status.st_mtime_ns, status.st_size)
        for path in folder.rglob("*")
        if stat.S_ISREG((status := path.lstat()).st_mode)
    }


def everybody_may_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def given_to_reader(*nodes: Path) -> None:
    """On the nodes the reader is whom dasctl logs in as."""
    if os.geteuid() == 0:
        for node in nodes:
            for path in (node, *node.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def locked_against_writing(folder: Path) -> None:
    """Root's own files are safe from others already; whoever runs this as himself takes his own leave away."""
    if os.geteuid() != 0:
        for path, _folders, _files in os.walk(folder, topdown=False):
            os.chmod(path, 0o555)


LOOKS: dict[str, Callable[[Context], Any]] = {
    "dry run": lambda ctx: sync(ctx, ["web"], command="sync-cluster", dry_run=True, diff=True),
    "deviations": lambda ctx: list_deviations(ctx, []),
    "diff": lambda ctx: diff_instance(ctx, name="web2"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside threads: ours have ended
def test_looking_needs_no_leave_to_write(model: Model) -> None:
    model.sync("das")
    root = model.root("das")
    (root / "docroot" / "index.html").write_text("two\n")
    (root / "lib" / "new").write_bytes(os.urandom(1000))
    text = (root / "config" / "domain.yaml").read_text()
    (root / "config" / "domain.yaml").write_text(text.replace("exec true", "exec false"))
    (model.instance("web2") / "docroot" / "index.html").write_text("by hand\n")
    for (
        look
    ) in LOOKS.values():  # all modules are loaded now: the reader may not be allowed to read Python's own
        asyncio.run(look(context(model)))
    everybody_may_read(model.base)
    given_to_reader(model.base / "n1", model.base / "n2")
    locked_against_writing(root)
    before = everything(model.base)
    said = {name: as_reader(model, look) for name, look in LOOKS.items()}
    assert said["dry run"].startswith("ok 0 None"), said
    assert {"web1:docroot/index.html", "web1:lib/new", "web3:config/domain.yaml"} <= set(
        said["dry run"].split()
    )
    assert said["deviations"] == "different 7 None web2:docroot/index.html"
    assert said["diff"].startswith("different 7 None"), said
    assert {"web2:docroot/index.html", "web2:lib/new", "web2:config/domain.yaml"} <= set(said["diff"].split())
    assert everything(model.base) == before


def test_a_dry_run_does_not_wait_for_the_lock(model: Model) -> None:
    model.sync("das")
    with YamlStore(model.root("das")).domain_locked("another command", wait_s=0.0):
        for look in LOOKS.values():
            assert asyncio.run(look(context(model))).exit_code == 0


def test_a_dry_run_of_a_domain_that_was_never_used_leaves_no_revision(model: Model) -> None:
    outcome = asyncio.run(LOOKS["dry run"](context(model)))
    assert (outcome.status, outcome.revision) == ("ok", 1)
    assert SqliteHistory(model.root("das")).head() is None
    assert not model.instance("web1").exists()
    assert not (model.root("das") / ".dasctl" / "objects").exists()

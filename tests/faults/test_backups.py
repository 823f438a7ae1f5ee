"""Backups on full disks, and restores that are killed anywhere: nothing half is left."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters import restored
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.restored import FolderRestoring
from dasctl.adapters.store import YamlStore, create_domain, find_domain
from dasctl.errors import DomainNotFound
from tests.core.test_delta import noise

DASCTL = (sys.executable, "-m", "dasctl")
LIMIT_S = 120.0


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DASCTL, *words], capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    create_domain(root, None, sample=False, id="6f1c2c1e-0000-4000-8000-000000000001")
    (root / "docroot/page").write_text("old")
    return root


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.getuid():
        pytest.skip("only root can mount")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(domain: Path, small: Path) -> None:
    (domain / "lib/large").write_bytes(noise(1, 3 << 20))
    (small / "mine").write_text("x")
    done = run("--domain", str(domain), "backup-domain", "--to", str(small))
    assert done.returncode == 1, done.stdout
    assert "No space left on device" in done.stderr
    assert "make room" in done.stderr
    assert [path.name for path in small.iterdir()] == ["mine"]
    assert list((domain / ".dasctl").glob("making/*")) == []
    kept = domain.parent / "kept"
    assert run("--domain", str(domain), "backup-domain", "--to", str(kept)).returncode == 0
    (file,) = kept.iterdir()
    done = run("restore-domain", str(file), "--to", str(small / "shop"))
    assert done.returncode == 1
    assert "make room" in done.stderr
    assert [path.name for path in small.iterdir()] == ["mine"]


def test_a_history_that_was_altered_takes_no_backup_s_place(domain: Path) -> None:
    """Such a one could not be restored, and --keep would remove one that can."""
    words = ("--domain", str(domain), "backup-domain", "--keep", "1")
    assert run(*words).returncode == 0
    good = set((domain / ".dasctl/backups").iterdir())
    with sqlite3.connect(domain / ".dasctl/history.db") as database:
        database.execute("UPDATE revisions SET summary = 'forged'")
    database.close()
    done = run(*words)
    assert done.returncode == 1
    assert "no backup was made" in done.stderr and "--without-history" in done.stderr
    assert set((domain / ".dasctl/backups").iterdir()) == good
    kept = domain.parent / "kept"
    alone = run("--domain", str(domain), "backup-domain", "--without-history", "--to", str(kept))
    assert alone.returncode == 0, alone.stderr
    (file,) = kept.iterdir()
    done = run("restore-domain", str(file), "--to", str(domain.parent / "other"))
    assert done.returncode == 0, done.stderr


def replaced(file: Path, root: Path) -> None:
    """What `restore-domain --force` does before it asks nodes."""
    restoring = FolderRestoring(environment={}, current=root.parent)
    restoring.before(root)
    with restoring.laid_out(file, root, lambda read, total: None) as beside:
        restoring.prepare(beside, epoch=5, above=7)
        restoring.swap(beside, root, command="test", wait_s=0, now=1_800_000_000.0)


def killed_at(step: int, file: Path, root: Path, *, exchange: bool) -> bool:
    """Do that in a process that is killed at its N-th change of a name; whether it was."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def made(*given: Any, **named: Any) -> Any:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*given, **named)

            return made

        for name in ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        restored._swapped = counted(restored._swapped if exchange else lambda one, other: False)
        try:
            replaced(file, root)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "two renames"])
def test_killed_anywhere(domain: Path, exchange: bool) -> None:
    """At each step NAME is the old domain or the new one, and the same command brings it to its end."""
    kept = domain.parent / "kept"
    assert run("--domain", str(domain), "backup-domain", "--to", str(kept)).returncode == 0
    (file,) = kept.iterdir()
    page, seen, step = domain / "docroot/page", set(), 1
    while True:
        page.write_text("new")
        if not killed_at(step, file, domain, exchange=exchange):
            break
        if not domain.exists():
            assert not exchange
            with pytest.raises(DomainNotFound, match="interrupted") as told:
                find_domain(domain.parent, domain, {})
            assert f".before-20270115T080000Z {domain}" in told.value.hint
            seen.add("between")
            FolderRestoring(environment={}, current=domain.parent).before(domain)
            assert page.read_text() == "new"
        seen.add(page.read_text())
        YamlStore(domain).load()
        assert SqliteHistory(domain).verify() >= 1
        step += 1
    assert step > 20
    assert seen >= ({"new", "old"} if exchange else {"new", "old", "between"})
    assert page.read_text() == "old"
    assert SqliteHistory(domain).epoch() == 5
    assert not list(domain.parent.glob(".*restoring*"))
    for each in domain.parent.glob("shop.before-*"):
        assert (each / "docroot/page").is_file()


def test_a_killed_backup_leaves_no_backup(domain: Path, tmp_path: Path) -> None:
    (domain / "lib/large").write_bytes(noise(1, 30 << 20))
    kept = tmp_path / "kept"
    process = subprocess.Popen(
        [*DASCTL, "--domain", str(domain), "backup-domain", "--to", str(kept)], stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not list(kept.glob(".*.part")) and process.poll() is None:
            pass
        process.kill()
    finally:
        process.kill()
        process.wait()
    assert run("list-backups", "--from", str(kept), "--json").stdout.count('"size"') == len(
        list(kept.glob("shop-*"))
    )
    assert run("--domain", str(domain), "backup-domain", "--to", str(kept)).returncode == 0
    assert list(kept.glob(".*.part")) == []

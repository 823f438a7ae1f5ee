"""What a synchronisation with nothing to do imports: it runs all day, and most of its time is its start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting

# Our own modules that it executes something of. Whoever adds to the list makes each start of each command slower, by 0.2 to
# 1 ms: what only some commands need is imported where they need it.
NEEDED = {
    "adapters": """
        beside bootstrap children clock domain_cache domain_lock early_logins failures_table helper_pack helpers
        history host_keys link logins node_command quick_start ssh ssh_program ssh_repeated store streams
        threads tree tree_ahead tree_hash tree_index tree_look tree_walk
    """,
    "cli": """
        call main palette quick quick_classes quick_modules session streams text
    """,
    "core": """
        areas config_id contents definition deployments domain durations exchange exclusion failures
        gitignore names outcome overlays patterns properties reloading requests sending slices stamps
        targets telling verdicts
    """,
    "operations": """
        acknowledging consenting contents conversation failing fanout ports preparing recording sync
        synchronised synchronising weighing
    """,
    "remote": """
        frames manifest paths quick_json records words
    """,
}
AT_THE_TOP = {"dasctl", "dasctl.__main__", "dasctl.errors", "dasctl.head_start", "dasctl.wiring"}
# What only other commands need, or faults, or nodes of which no login is remembered.
NEVER = {
    "typer", "rich", "yaml", "ruamel.yaml", "asyncssh", "cryptography", "zipfile", "tarfile",
    "ast", "ctypes", "decimal", "dis", "ipaddress", "lzma", "platform", "random", "string", "tokenize", "uuid",
}  # fmt: skip


def imported_by(cluster: Cluster, *words: str) -> set[str]:
    """The modules that `dasctl WORDS` imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dasctl", "--domain", str(cluster.root), *words],
        env={**os.environ, **cluster.env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}


def let_rest(root: Path) -> None:
    """Files that were written a moment ago are hashed again; these were not."""
    for base, folders, files in os.walk(root):
        for name in (*folders, *files):
            os.utime(f"{base}/{name}", ns=(10**18, 10**18), follow_symlinks=False)


def test_nothing_to_do_imports_little(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    for area in ("config", "applications", "lib", "docroot"):
        let_rest(cluster.root / area)
    for _ in range(2):  # the first makes what later ones are quick by
        cluster.json("sync-domain")
    imported = imported_by(cluster, "sync-domain", "--quiet")
    for _ in range(10):
        if "asyncssh" in imported:  # the login is not remembered yet: to a busy machine its line seemed long
            imported = imported_by(cluster, "sync-domain", "--quiet")
    packages = {f"dasctl.{package}" for package in NEEDED}
    needed = {f"dasctl.{package}.{name}" for package, names in NEEDED.items() for name in names.split()}
    ours = {name for name in imported if name.partition(".")[0] == "dasctl"}
    assert "dasctl.adapters.ssh_repeated" in ours
    assert sorted(ours - needed - packages - AT_THE_TOP) == []
    assert sorted(imported & NEVER) == []

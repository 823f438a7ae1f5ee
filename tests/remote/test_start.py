"""What the helper of a plain synchronisation imports on a node: next to nothing of the standard library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.remote.conversation import END, Das, Tree, instance, sync_request

from dasctl.adapters import bootstrap, helper_pack, node_command
from dasctl.remote import frames

# Each of them takes milliseconds, most of them because of what they import themselves.
SLOW = {
    "collections", "ctypes", "dataclasses", "enum", "functools", "importlib", "json", "operator", "os", "re", "signal",
    "stat", "subprocess", "threading", "types", "typing", "__future__", "_collections_abc",
}  # fmt: skip


def imported(tmp_path: Path, magic: str | None, request: bytes) -> tuple[set[str], bytes]:
    shipment = helper_pack.Shipment(helper_pack.helper_pack(), magic)
    header, _size = frames.parse_header(request.partition(b"\n")[0])
    ahead = shipment.opening() + shipment.ahead_of(header)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-X", "importtime", "-c", node_command.PRELUDE],
        input=ahead + request + END, capture_output=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    told = [
        line.rpartition(b"|")[2].strip().decode()
        for line in done.stderr.splitlines()
        if line.count(b"|") == 2
    ]
    return set(told), done.stdout


@pytest.mark.parametrize("magic", [None, bootstrap.magic()], ids=["sources", "code"])
def test_nothing_to_do_imports_little(tmp_path: Path, magic: str | None) -> None:
    das, tree = Das(tmp_path), Tree().file("docroot/a", b"a").file("docroot/\xe4", b"b")
    assert das.one(tree)["verdict"] == "done"
    request = sync_request(tmp_path, [instance("web1", tree, 1, 1)])
    names, said = imported(tmp_path, magic, request)
    assert b'"verdict":"unchanged"' in said
    assert not names & (SLOW | {"hashlib", "_hashlib"})


def test_a_change_imports_little_more(tmp_path: Path) -> None:
    das, tree = Das(tmp_path), Tree()
    for number in range(100):  # more than are synced one by one
        tree.file(f"docroot/{number}", b"%d" % number, mtime=5)
    assert das.one(tree)["verdict"] == "done"
    for number in range(100):
        tree.without(f"docroot/{number}").file(f"lib/{number}", b"%d" % number, mtime=5)
    names, said = imported(
        tmp_path, bootstrap.magic(), sync_request(tmp_path, [instance("web1", tree, 2, 1)], [tree])
    )
    assert b'"verdict":"done"' in said
    assert not names & SLOW

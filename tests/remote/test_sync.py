"""Synchronisation on real temporary trees, through whole conversations."""

from __future__ import annotations

import os
from pathlib import Path

from tests.remote.conversation import Das, Tree, on_disk


def shop() -> Tree:
    return (
        Tree()
        .file("config/app.conf", b"port=1", 0o600)
        .file("applications/hello/serve.py", b"print()", 0o755)
        .file("docroot/index.html", b"<h1>hi</h1>")
        .file("docroot/copy.html", b"<h1>hi</h1>", mtime=5)
        .file("docroot/empty", b"")
        .folder("docroot/nothing", 0o700)
        .link("docroot/start", b"index.html")
        .file(b"docroot/\xff\n -x", b"odd")
    )


def test_first_sync_gives_exactly_the_tree(tmp_path: Path) -> None:
    das = Das(tmp_path)
    verdict = das.one(shop())
    assert verdict["verdict"] == "done", verdict
    assert on_disk(tmp_path / "web1") == shop().entries
    assert sorted(os.listdir(tmp_path / "web1" / ".dasctl" / "staging")) == []
    again = das.one(shop())
    assert (again["verdict"], again["changes"], again["deviations"]) == ("unchanged", [], [])
    assert das.trips == 1

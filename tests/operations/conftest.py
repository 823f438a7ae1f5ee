"""Worlds for operations: a domain in memory, nodes in a temporary folder (tests/scenarios/world.py)."""

from __future__ import annotations

import pytest

from tests.scenarios.world import World


@pytest.fixture
def world(tmp_path) -> World:
    """The domain `shop` with a page and an application, never synchronised."""
    made = World(base=tmp_path)
    made.das.repository.put_file(b"docroot/index.html", b"one")
    made.das.repository.put_file(b"applications/hello/app.py", b"print()")
    return made

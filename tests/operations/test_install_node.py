"""`install-node`, `uninstall-node`, `list-nodes --long`: releases on nodes, through the real helper, on memory links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.core.domain import Release
from tests.operations.software import Shop, current, packed


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(base=tmp_path)
    yield shop
    shop.run("stop-cluster app --kill")


def test_the_first_release_becomes_current_and_the_domain_says_so(shop: Shop) -> None:
    before = shop.revision() if (shop.root / ".dasctl/history.db").exists() else 0
    shown = shop.install("1.0")
    assert "n1" in shown
    assert "app-1.0" in shown  # the folder that was left out
    for node in ("n1", "n2"):
        assert current(shop, node) == "releases/1.0"
        assert os.access(shop.software(node) / "current/bin/server", os.X_OK)
    assert not shop.software("n3").exists()
    domain = shop.domain()
    assert [domain.nodes[node].software for node in ("n1", "n2", "n3")] == ["1.0", "1.0", None]
    assert domain.releases["1.0"].archive == "app-1.0.tar.gz"
    assert sorted(os.listdir(shop.root / ".dasctl/releases/1.0")) == ["app-1.0.tar.gz", "manifest"]
    assert shop.revision() == before + 2  # as it was first seen, and one for the installation
    again = shop.good(f"install-node n1 n2 --archive {shop.base}/app-1.0.tar.gz --version 1.0")
    assert "nothing to do" in again or "unchanged" in again, again
    assert shop.revision() == before + 2

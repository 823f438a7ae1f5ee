"""What a plain synchronisation begins early: handed over, or given up as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore, create_domain
from dasctl.cli.call import Call
from dasctl.cli.quick import DEFAULTS, is_plain
from dasctl.errors import DomainLocked
from dasctl.head_start import HeadStart, begin

DOMAIN = """\
format: 1
domain: {name: shop, id: 6b1f2c1e-0d1a-4c53-9d0c-2f1f0a7c9b11}
nodes: {n1: {host: 127.0.0.1}}
configs: {c: {start: exec sleep 1}}
instances: {a: {node: n1, config: c}}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("DASCTL_CALLER", raising=False)
    create_domain(tmp_path / "shop", None, sample=False, id="6b1f2c1e-0d1a-4c53-9d0c-2f1f0a7c9b11")
    (tmp_path / "shop/config/domain.yaml").write_text(DOMAIN)
    yield tmp_path / "shop"


def begun_in(root: Path, targets: list[str]) -> HeadStart | None:
    return begin(root, targets, parallel=64, timeout_s=10.0)


def is_locked(root: Path) -> bool:
    try:
        with YamlStore(root).domain_locked("another command", wait_s=0):
            return False
    except DomainLocked:
        return True


def test_the_lock_is_held_until_who_asks_for_it_is_done(root: Path) -> None:
    begun = begun_in(root, ["domain"])
    assert begun is not None and begun.root == root
    assert is_locked(root)
    with begun.store.domain_locked("sync-domain", wait_s=0):
        assert is_locked(root)
    assert not is_locked(root)
    with begun.store.domain_locked("sync-domain", wait_s=0):  # as ever
        assert is_locked(root)
    assert not is_locked(root)


def test_what_nobody_asks_for_is_given_up(root: Path) -> None:
    begun = begun_in(root, ["domain"])
    assert begun is not None
    begun.drop()
    assert not is_locked(root)
    begun.drop()


def test_a_wrong_target_begins_nothing(root: Path) -> None:
    assert begun_in(root, ["nobody"]) is None
    assert not is_locked(root)


def test_a_domain_that_is_wrong_begins_nothing(root: Path) -> None:
    (root / "config/domain.yaml").write_text(DOMAIN.replace("n1, config", "n2, config"))
    assert begun_in(root, ["domain"]) is None
    assert not is_locked(root)


def test_a_locked_domain_begins_nothing(root: Path) -> None:
    with YamlStore(root).domain_locked("another command", wait_s=0):
        assert begun_in(root, ["domain"]) is None
    assert not is_locked(root)


def test_no_domain_begins_nothing(tmp_path: Path) -> None:
    assert begun_in(tmp_path, ["domain"]) is None


def test_commands_of_others_begin_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASCTL_CALLER", "{}")
    assert begun_in(root, ["domain"]) is None


@pytest.mark.parametrize(
    ("more", "plain"), [({}, True), ({"dry_run": True}, False), ({"failed": True}, False)]
)
def test_only_a_synchronisation_without_options_begins_early(more: dict[str, object], plain: bool) -> None:
    arguments = {"targets": ["domain"], "command": "sync-domain", **DEFAULTS, **more}
    assert is_plain(Call(command="sync-domain", operation="sync", arguments=arguments)) is plain
    assert not is_plain(Call(command="x", operation="restart", arguments=arguments))

"""The kept domain is the one that the text says, and a file that is not as it was written is as good as absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from dasctl.adapters import domain_cache
from dasctl.adapters.store import YamlStore, sample_text
from dasctl.adapters.yaml_text import domain_of
from dasctl.errors import InvalidDomain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / ".dasctl").mkdir()
    (tmp_path / "config" / "domain.yaml").write_text(sample_text(), "utf-8")
    return tmp_path


def test_kept_domain_is_the_same(root: Path) -> None:
    first = YamlStore(root).load()
    assert (root / ".dasctl" / "domain").is_file()
    assert YamlStore(root).load() == first == domain_of(sample_text())


def test_kept_domain_is_what_is_used(root: Path) -> None:
    domain = YamlStore(root).load()
    other = domain_of(sample_text().replace("shop", "elsewhere"))
    domain_cache.keep(root / ".dasctl", domain_cache.key_of(sample_text()), other)
    assert YamlStore(root).load() == other != domain


def test_another_text_is_judged_anew(root: Path) -> None:
    YamlStore(root).load()
    (root / "config" / "domain.yaml").write_text(sample_text() + "\nclusters: 3\n", "utf-8")
    with pytest.raises(InvalidDomain):
        YamlStore(root).load()
    with pytest.raises(InvalidDomain):  # one with faults is not kept
        YamlStore(root).load()


def test_damaged_file_is_as_good_as_absent(root: Path) -> None:
    domain = YamlStore(root).load()
    file = root / ".dasctl" / "domain"
    good = file.read_bytes()
    for at in (0, 40, 70, len(good) - 1):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert YamlStore(root).load() == domain
        assert file.read_bytes() == good
    file.write_bytes(good[:50])
    assert YamlStore(root).load() == domain


def test_without_a_place_nothing_is_kept(root: Path) -> None:
    (root / ".dasctl").rmdir()
    assert YamlStore(root).load() == domain_of(sample_text())
    assert not (root / ".dasctl").exists()

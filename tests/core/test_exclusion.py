"""Which lists of domain.yaml hold where: one gitignore file in each area's folder says the same to git."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dasctl.core.decoding import decoded
from dasctl.core.domain import Domain
from dasctl.core.exclusion import (
    below,
    excluded_of,
    keep_of,
    kept_on_instances,
    left_out_of_repository,
    scan_patterns,
)
from dasctl.core.patterns import Ignore


def shop(**more: Any) -> Domain:
    data = {
        "format": 1,
        "domain": {"name": "shop", "id": "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11", **more.pop("domain", {})},
        "nodes": {"n1": {"host": "a"}},
        "configs": {"c": {"start": "x", **more.pop("config", {})}, "other": {"start": "y"}},
        "instances": {"web1": {"node": "n1", "config": "c"}, "web2": {"node": "n1", "config": "other"}},
        **more,
    }
    result = decoded(data)
    assert not result.faults
    return result.domain


def found(regexes: tuple[str, ...], path: bytes) -> bool:
    return any(re.search(regex, path.decode("latin-1")) for regex in regexes)


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        ("*.bak", "/docroot/**/*.bak"),
        ("/top", "/docroot/top"),
        ("a/b", "/docroot/a/b"),
        ("a/", "/docroot/**/a/"),
        ("/a/", "/docroot/a/"),
        ("**/a", "/docroot/**/a"),
        ("**", "/docroot/**/**"),
        ("!*.bak", "!/docroot/**/*.bak"),
        ("!/a", "!/docroot/a"),
        ("\\!a", "/docroot/**/\\!a"),
        ("a/  ", "/docroot/**/a/  "),
        ("#a", "#a"),
        ("", ""),
    ],
)
def test_a_pattern_of_an_area(pattern: str, whole: str) -> None:
    assert below("docroot", pattern) == whole


@pytest.mark.parametrize(
    ("path", "is_folder", "out"),
    [
        (b"docroot/x.bak", False, True),
        (b"docroot/index.bak", False, False),  # an area brings back what the domain leaves out
        (b"lib/index.bak", False, True),
        (b"docroot/drafts", True, True),
        (b"docroot/drafts/index.bak", False, True),  # but not from below a folder that is out
        (b"docroot/a/drafts", True, False),
        (b"config/drafts", True, False),
        (b"applications/hello/tests", True, True),
        (b"applications/hello/a/tests", True, False),
        (b"applications/bye/tests", True, False),
        (b"applications/bye/deep/x.tmp", False, True),
        (b"applications/hello/keep.tmp", False, False),
        (b"docroot/deep/\xff.psd", False, True),
    ],
)
def test_lists_that_stand_nearer_come_later(path: bytes, is_folder: bool, out: bool) -> None:
    domain = shop(
        domain={"exclude": ["*.bak"]},
        areas={
            "docroot": {"exclude": ["!index.bak", "/drafts/", "*.psd"]},
            "applications": {"exclude": ["*.tmp"]},
        },
        applications={"hello": {"exclude": ["/tests", "!keep.tmp"]}, "bye": {}},
    )
    assert Ignore(scan_patterns(domain)).matches(path, is_folder) is out


def test_each_rule_knows_its_place() -> None:
    domain = shop(domain={"exclude": ["a", "b"]}, areas={"lib": {"exclude": ["c"]}})
    rules = left_out_of_repository(domain)
    assert [("/".join(rule.place), rule.written, rule.holder) for rule in rules] == [
        ("domain/exclude/0", "a", "domain"),
        ("domain/exclude/1", "b", "domain"),
        ("areas/lib/exclude/0", "c", "areas/lib"),
    ]


def test_what_is_kept_comes_from_all_lists_and_the_config_has_the_last_word() -> None:
    domain = shop(
        domain={"keep": ["*.local"]},
        config={"keep": ["!config/b.local", "/docroot/x"]},
        areas={"docroot": {"keep": ["/y"]}},
        applications={"hello": {"keep": ["cache/"]}},
    )
    web1, web2 = keep_of(domain, "web1"), keep_of(domain, "web2")
    for path, first, second in (
        (b"config/a.local", True, True),
        (b"config/b.local", False, True),
        (b"docroot/x", True, False),
        (b"docroot/y", True, True),
        (b"docroot/z/y", False, False),
        (b"applications/hello/a/cache/\xff\n", True, True),
        (b"applications/bye/cache/b", False, False),
    ):
        assert (found(web1, path), found(web2, path)) == (first, second), path
    assert len(kept_on_instances(domain, "c")) == 5


@pytest.mark.parametrize("keep", [["*"], ["config/"], ["config/domain.yaml"], ["*", "!x"], ["domain.yaml"]])
def test_the_instances_own_part_of_domain_yaml_is_never_the_nodes(keep: list[str]) -> None:
    regexes = keep_of(shop(domain={"keep": keep}), "web1")
    assert not found(regexes, b"config/domain.yaml")
    assert found(regexes, b"config/domain.yaml2") is (
        keep != ["config/domain.yaml"] and keep != ["domain.yaml"]
    )


def test_nothing_said_is_nothing_sent() -> None:
    assert keep_of(shop(), "web1") == () and excluded_of(shop(), "web1") == ()


def test_a_config_brings_nothing_back_that_the_repository_does_not_give() -> None:
    domain = shop(domain={"exclude": ["*.bak"]}, config={"exclude": ["!*.bak", "docroot/video/"]})
    assert found(excluded_of(domain, "web1"), b"lib/a.bak")
    assert found(excluded_of(domain, "web1"), b"docroot/video/a")
    assert not found(excluded_of(domain, "web2"), b"docroot/video/a")

"""Releases of software: parts, what one was made of, how far two lie apart; and the rules of domain.yaml about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from dasctl.core import releases, software
from dasctl.core.config_id import config_id
from dasctl.core.decoding import decoded
from dasctl.core.domain import Domain
from dasctl.core.edits import Put, edited
from dasctl.core.releases import Server
from dasctl.core.slices import Part
from dasctl.remote import messages
from dasctl.remote.manifest import Entry

ORDER = ("17.0.9", "17.0.10", "21", "25")


def domain(**settings: object) -> Domain:
    """Two clusters on three nodes; releases in their order, and one that is a folder."""
    return decoded(document(**settings)).domain


def document(**settings: object) -> dict[str, Any]:
    return {
        "format": 1,
        "domain": {"name": "shop", "id": "11111111-2222-4333-8444-555555555555", **settings},
        "releases": {**{name: {"archive": f"jdk-{name}.tgz"} for name in ORDER}, "deb": {"folder": "/usr/lib/jvm/17"}},
        "nodes": {"n1": {"host": "a", "software": "21"}, "n2": {"host": "b"}, "n3": {"host": "c", "software": "deb"}},
        "configs": {
            "java": {"start": "exec ${node.software}/bin/java"},
            "home": {"start": "exec run.sh", "env": {"JAVA_HOME": "${node.software}"}},
            "plain": {"start": "exec nginx"},
        },
        "clusters": {"web": {"config": "java"}, "app": {"config": "home"}},
        "instances": {
            "web1": {"node": "n1", "cluster": "web"},
            "web2": {"node": "n2", "cluster": "web"},
            "app1": {"node": "n2", "cluster": "app"},
            "alone": {"node": "n2", "config": "plain"},
        },
    }  # fmt: skip


def part(version: str, files: dict[str, bytes | int]) -> Part:
    entries = [Entry(b"", "d", 0o755, 0, 7, b"-")]
    for path, content in sorted(files.items()):
        data, size = (
            (content, len(content))
            if isinstance(content, bytes)
            else (path.encode() + version.encode(), content)
        )
        digest = hashlib.sha256(data).hexdigest().encode()
        entries.append(Entry(path.encode(), "f", 0o644, size, 5, digest))
    return releases.part_of(version, entries)


def test_a_part_is_what_the_helper_takes() -> None:
    made = part("17.0.9", {"a": b"1", "b": b"2"})
    messages.part_entries(made.name, made.data)
    assert releases.part_from(made.data) == made
    assert releases.part_from(b"d 755 0 0 - docroot\0") is None
    assert releases.part_from(b"") is None


def test_the_slice_of_a_node_is_ordered_and_its_folder_is_as_old_as_its_newest_release() -> None:
    one, two = part("9", {"a": b"1"}), part("10", {"a": b"1"})
    found = releases.slice_of([one, two])
    assert [name for name, _ in found.listing] == ["releases", "releases/10", "releases/9"]
    assert found.parts[0].data == b"d 755 0 7 - releases\0"
    for each in found.parts:
        messages.part_entries(each.name, each.data)
    assert releases.slice_of([]).parts == ()
    unknown = Part(name="releases/8", digest="0" * 64, data=b"")
    assert [name for name, _ in releases.slice_of([unknown, one]).listing] == [
        "releases",
        "releases/8",
        "releases/9",
    ]


def test_files_at_the_same_path_of_the_nearest_release_are_what_a_new_one_was_made_of() -> None:
    old, new = part("1", {"lib/x": 20_000, "same": b"s"}), part("2", {"lib/x": 20_001, "same": b"s"})
    digests = [
        line.split(b" ")[4].decode()
        for made in (new, old)
        for line in made.data.split(b"\0")
        if b"lib/x" in line
    ]
    assert releases.made_of(new, [old]) == {digests[0]: digests[1]}
    assert releases.made_of(new, []) == {}


def test_large_releases_with_nothing_in_common_are_not_compared() -> None:
    old, new = part("1", {"lib/x": 200 << 20, "a": b"1"}), part("2", {"lib/x": 200 << 20, "a": b"2"})
    assert releases.made_of(new, [old]) == {}
    old, new = part("1", {"lib/x": 200 << 20, "a": b"1"}), part("2", {"lib/x": 200 << 20, "a": b"1"})
    assert len(releases.made_of(new, [old])) == 1


@pytest.mark.parametrize(
    ("version", "others", "order"),
    [
        ("21", ["17.0.9", "25", "17.0.10"], ["25", "17.0.10", "17.0.9"]),
        ("26", ["17.0.9", "25"], ["25", "17.0.9"]),  # a new one will be the last
        ("17.0.9", ["unknown", "25"], ["25", "unknown"]),
    ],
)
def test_the_nearest_release_comes_first(version: str, others: list[str], order: list[str]) -> None:
    known = domain()
    assert releases.nearest_first(known, version, others) == order


def test_links_and_versions() -> None:
    known = domain()
    assert releases.link_to(known, "21") == "releases/21"
    assert releases.link_to(known, "deb") == "/usr/lib/jvm/17"
    assert [releases.version_of(known, link) for link in ("releases/21", "/usr/lib/jvm/17", "/else", None)] == [
        "21", "deb", None, None,
    ]  # fmt: skip


def test_only_configs_that_name_the_release_have_to_do_with_it() -> None:
    known = domain()
    assert [name for name in known.instances if releases.names_release(known, name)] == [
        "web1",
        "web2",
        "app1",
    ]


@dataclass(frozen=True)
class Skew:
    what: str
    most: int | None
    running: dict[str, str]
    starting: dict[str, str]
    refused: list[str]


SKEWS = [
    Skew("no limit", None, {"web1": "17.0.9"}, {"web2": "25"}, []),
    Skew("as far as it may be", 1, {"web1": "17.0.9"}, {"web2": "17.0.10"}, []),
    Skew("farther", 1, {"web1": "17.0.9"}, {"web2": "21"}, ["web2"]),
    Skew("backwards", 1, {"web1": "21"}, {"web2": "17.0.9"}, ["web2"]),
    Skew("one release for all", 0, {"web1": "21"}, {"web2": "25"}, ["web2"]),
    Skew("another cluster", 0, {"web1": "21"}, {"app1": "25"}, []),
    Skew("started at once: the first one counts", 0, {}, {"web1": "21", "web2": "25"}, ["web2"]),
    Skew("together to another release", 0, {}, {"web1": "25", "web2": "25"}, []),
    Skew("a release that is not known is not judged", 0, {"web1": "made by hand"}, {"web2": "25"}, []),
    Skew("a stand-alone instance is by itself", 0, {"alone": "17.0.9"}, {"web1": "25"}, []),
]


@pytest.mark.parametrize("case", SKEWS, ids=lambda case: case.what)
def test_skew(case: Skew) -> None:
    known = domain(**({} if case.most is None else {"max-skew": case.most}))
    nodes = {name: entry.node for name, entry in known.instances.items()}
    servers = [
        [Server(instance=name, node=nodes[name], version=version) for name, version in found.items()]
        for found in (case.running, case.starting)
    ]
    assert list(releases.too_far_apart(known, *servers)) == case.refused


def test_the_reason_names_both_and_the_limit() -> None:
    running, starting = (
        Server(instance="web1", node="n1", version="17.0.9"),
        Server(instance="web2", node="n2", version="25"),
    )
    assert releases.too_far_apart(domain(**{"max-skew": 1}), [running], [starting]) == {
        "web2": "web2 would run with release 25, and web1 on node n1 runs with 17.0.9: 3 releases apart, max-skew is 1"
    }


RULES = [
    (("releases", "a b"), {"archive": "x"}, "'a b' is not a name"),
    (("releases", "30"), {}, "exactly one of archive, folder"),
    (("releases", "30"), {"archive": "x", "folder": "/x"}, "exactly one of archive, folder"),
    (("releases", "30"), {"folder": "opt/jdk"}, "'opt/jdk' is not an absolute path"),
    (("releases", "30"), {"archive": "x", "digest": "abc"}, "'abc' is not a SHA-256 in hex"),
    (("nodes", "n2", "software"), "2l", "no release named '2l'"),
    (("domain", "max-skew"), -1, "or more"),
    (
        ("instances", "software"),
        {"node": "n1", "cluster": "web"},
        "the folder 'software' is that of the releases",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), RULES)
def test_each_rule_is_told(path: tuple[str, ...], value: object, message: str) -> None:
    broken = decoded(edited(document(), [Put(path=path, value=value)]))
    (fault,) = [*broken.faults, *software.faults(broken.domain)]
    assert message in str(fault)


def test_a_node_without_a_release_is_a_warning() -> None:
    (warning,) = software.warnings(domain())
    assert "web2,app1" in str(warning)
    assert "dasctl install-node n2" in str(warning)
    assert list(software.faults(domain())) == []


def test_releases_have_nothing_to_do_with_the_membership() -> None:
    without = document()
    del without["releases"]
    for node in without["nodes"].values():
        node.pop("software", None)
    assert config_id(decoded(without).domain) == config_id(domain())

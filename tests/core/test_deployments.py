"""Who gets which version of which application: the most specific word wins."""

import pytest

from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.core import slices, validate
from dasctl.core.deployments import Deployments, trees_of
from dasctl.core.domain import Application, Areas, Cluster, Config, Domain, Instance, Node, Patterns, Settings
from dasctl.core.explaining import GIVEN, LEFT_OUT, NOBODYS, NOT_DEPLOYED, Explainer
from dasctl.operations.delete_cluster import without_target
from dasctl.remote import manifest

HELLO, OLD = "applications/hello", "applications/hello~1"


def domain_of(areas: Areas | None = None, **hello: object) -> Domain:
    return Domain(
        format=1, domain=Settings(name="shop", id="11111111-2222-4333-8444-555555555555"),
        areas=areas or Areas(), nodes={"n1": Node(host="localhost")},
        configs={"web-config": Config(start="exec true")}, clusters={"web": Cluster(config="web-config")},
        instances={
            "web1": Instance(node="n1", cluster="web"), "web2": Instance(node="n1", cluster="web"),
            "alone": Instance(node="n1", config="web-config"),
        },
        applications={"hello": Application(**hello)},  # type: ignore[arg-type]
    )  # fmt: skip


# What domain.yaml says, and from where web1, web2 and alone get `hello` (None: not at all).
CASES = [
    ("nobody", {}, (None, None, None)),
    ("a cluster", {"targets": ["web"]}, (HELLO, HELLO, None)),
    ("an instance alone", {"targets": ["alone"], "version": "2"}, (None, None, HELLO)),
    ("another version", {"targets": ["web"], "version": "2", "versions": {"web": "1"}}, (OLD, OLD, None)),
    ("one of a cluster", {"targets": ["web"], "version": "2", "versions": {"web1": "1"}}, (OLD, HELLO, None)),
    ("the named version", {"targets": ["web"], "version": "2", "versions": {"web": "1", "web1": "2"}}, (HELLO, OLD, None)),
    ("of no version at all", {"targets": ["web"], "versions": {"web1": "1"}}, (OLD, HELLO, None)),
    ("a target of its own", {"targets": ["web", "web1"], "version": "2", "versions": {"web": "1"}}, (HELLO, OLD, None)),
    ("disabled", {"targets": ["web", "alone"], "disabled": ["web"]}, (None, None, HELLO)),
    ("one disabled", {"targets": ["web"], "disabled": ["web1"]}, (None, HELLO, None)),
    ("all but one", {"targets": ["web", "web1"], "disabled": ["web"]}, (HELLO, None, None)),
    ("disabled, in a version",
     {"targets": ["web"], "version": "2", "versions": {"web1": "1"}, "disabled": ["web1"]}, (None, HELLO, None)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "hello", "expected"), CASES, ids=[row[0] for row in CASES])
def test_who_gets_what(what: str, hello: dict[str, object], expected: tuple[str | None, ...]) -> None:
    domain = domain_of(**hello)
    assert validate.faults(domain) == ()
    deployments = Deployments(domain)
    assert tuple(deployments.of(name).get(HELLO) for name in domain.instances) == expected


FAULTS = [
    ({"targets": ["web"], "versions": {"alone": "1"}}, "applications/hello/versions/alone", "no target"),
    ({"targets": ["alone"], "versions": {"web1": "1"}}, "applications/hello/versions/web1", "no target"),
    ({"targets": ["web"], "disabled": ["web3"]}, "applications/hello/disabled/0", "no target"),
    ({"disabled": ["web"]}, "applications/hello/disabled/0", "none"),
    ({"targets": ["web"], "version": "../2"}, "applications/hello/version", "not a version"),
    ({"targets": ["web"], "version": "-"}, "applications/hello/version", "not a version"),
    ({"targets": ["web"], "versions": {"web": "a/b"}}, "applications/hello/versions/web", "not a version"),
    ({"targets": ["web"], "versions": {"web": "v" * 101}}, "applications/hello/versions/web", "at most 100"),
]


@pytest.mark.parametrize(("hello", "place", "why"), FAULTS)
def test_what_cannot_be(hello: dict[str, object], place: str, why: str) -> None:
    (fault,) = validate.faults(domain_of(**hello))
    assert "/".join(fault.path) == place and why in fault.message


def test_no_application_is_called_like_the_archives() -> None:
    domain = domain_of()
    domain = Domain(**{key: getattr(domain, key) for key in domain.__struct_fields__} | {
        "applications": {"__internal": Application()}
    })  # fmt: skip
    assert [fault.path for fault in validate.faults(domain)] == [("applications", "__internal")]


def test_a_target_that_goes_takes_all_that_is_said_of_it() -> None:
    domain = domain_of(
        targets=["web", "alone"], version="2", versions={"alone": "1"}, disabled=["alone", "web1"]
    )
    puts = {edit.path: getattr(edit, "value", None) for edit in without_target(domain, "alone")}
    assert puts == {
        ("applications", "hello", "targets"): ["web"],
        ("applications", "hello", "disabled"): ["web1"],
        ("applications", "hello", "versions", "alone"): None,
    }


# In slices.

VERSIONS = {"targets": ["web"], "version": "2", "versions": {"web2": "1"}}


def filled(**files: bytes) -> MemoryRepository:
    repository = MemoryRepository()
    for path in (
        "hello/a/same",
        "hello/new",
        "hello~1/a/same",
        "hello~1/old",
        "__internal/hello/2/hello.war",
    ):
        repository.put_file(f"applications/{path}".encode(), path.encode(), mtime=5)
    return repository


def slices_of(repository: MemoryRepository, domain: Domain) -> dict[str, dict[bytes, bytes]]:
    """Of each instance, its applications' files and their contents' digests."""
    found = slices.build(
        domain, repository.scan(domain, criterion="modtime"),
        repository.publish(dict.fromkeys(domain.instances, b"-")),
    )  # fmt: skip
    return {
        name: {
            entry.path: entry.digest
            for part in wanted.parts if part.name.startswith("applications/")
            for entry in manifest.decode(part.data) if entry.kind == "f"
        }
        for name, wanted in found.by_instance.items()
    }  # fmt: skip


def test_another_version_goes_under_the_applications_name() -> None:
    given = slices_of(filled(), domain_of(**VERSIONS))
    assert list(given["web1"]) == [b"applications/hello/a/same", b"applications/hello/new"]
    assert list(given["web2"]) == [b"applications/hello/a/same", b"applications/hello/old"]
    assert given["web1"][b"applications/hello/a/same"] != given["web2"][b"applications/hello/a/same"]
    assert given["alone"] == {}


def test_archives_are_kept_and_go_to_nobody() -> None:
    domain = domain_of(Areas(applications=Patterns(exclude=["*.war"])), **VERSIONS)
    scan = filled().scan(domain, criterion="modtime")
    internal = scan.areas["applications/__internal"]
    assert b"applications/__internal/hello/2/hello.war" in {entry.path for entry in internal.entries}
    assert internal.digest in scan.repository
    assert all(
        b"__internal" not in str(path).encode()
        for tree in slices_of(filled(), domain).values()
        for path in tree
    )


def test_patterns_over_an_application_hold_for_its_versions() -> None:
    given = slices_of(filled(), domain_of(exclude=["a/"], **VERSIONS))
    assert list(given["web2"]) == [b"applications/hello/old"]


def test_a_version_without_a_folder_is_told(  # and nobody is given the other one in its place
) -> None:
    repository, domain = filled(), domain_of(**VERSIONS)
    repository.remove(b"applications/hello~1")
    problems = repository.scan(domain, criterion="modtime").problems
    assert [(problem.path, problem.message) for problem in problems] == [
        (b"applications/hello~1", "the application has no folder")
    ]
    assert slices_of(repository, domain)["web2"] == {}


def test_all_folders_are_scanned_in_order() -> None:
    assert trees_of(domain_of(**VERSIONS)) == (
        b"config", b"applications/__internal", b"applications/hello", b"applications/hello~1", b"lib", b"docroot",
    )  # fmt: skip


def test_explaining_versions() -> None:
    domain = domain_of(exclude=["a/"], **VERSIONS)
    explainer = Explainer(domain, filled().scan(domain, criterion="modtime"))

    def told(path: bytes) -> list[tuple[str | None, str, bytes]]:
        return [
            (row.instance, row.status, row.goes_as) for row in explainer.of_repository(path, is_folder=False)
        ]

    assert told(b"applications/hello~1/old") == [
        ("web1", NOT_DEPLOYED, b""), ("web2", GIVEN, b"applications/hello/old"), ("alone", NOT_DEPLOYED, b""),
    ]  # fmt: skip
    assert told(b"applications/hello~1/a/same")[1][1] == LEFT_OUT
    assert told(b"applications/__internal/hello/2/hello.war") == [(None, NOBODYS, b"")]
    (found,) = explainer.of_instance("web2", b"applications/hello/old")
    assert (found.path, found.status) == (b"applications/hello~1/old", GIVEN)

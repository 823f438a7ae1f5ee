"""What commands make of an application's entry: which version where, and who else must not notice."""

import random

import pytest

from dasctl.core import deploying, validate
from dasctl.core.deployment_records import Before, Record, before_in, record_in
from dasctl.core.domain import Application, Cluster, Config, Domain, Instance, Node, Settings
from dasctl.core.edits import Put
from dasctl.errors import DasctlError, FormatTooNew, UsageError


def domain_of(hello: Application | None = None) -> Domain:
    return Domain(
        format=1, domain=Settings(name="shop", id="11111111-2222-4333-8444-555555555555"),
        nodes={"n1": Node(host="localhost")}, configs={"c": Config(start="exec true")},
        clusters={"web": Cluster(config="c"), "api": Cluster(config="c")},
        instances={
            "web1": Instance(node="n1", cluster="web"), "web2": Instance(node="n1", cluster="web"),
            "api1": Instance(node="n1", cluster="api"), "alone": Instance(node="n1", config="c"),
        },
        applications={"hello": hello} if hello is not None else {},
    )  # fmt: skip


DOMAIN = domain_of()


def had(application: Application | None) -> dict[str, str | None]:
    """The version that each instance gets; those that get none are absent."""
    return {
        name: here.version for name, here in deploying.having(DOMAIN, application).items() if here.enabled
    }


def test_a_first_deployment() -> None:
    after = deploying.activated(DOMAIN, Application(), "1", ["web"])
    assert after == Application(targets=["web"], version="1")


def test_all_targets_move_on_together() -> None:
    after = deploying.activated(
        DOMAIN, Application(targets=["web", "alone"], version="1"), "2", ["web", "alone"]
    )
    assert after == Application(targets=["web", "alone"], version="2")


def test_one_of_a_cluster_tries_it_first_and_the_others_follow() -> None:
    first = deploying.activated(DOMAIN, Application(targets=["web"], version="1"), "2", ["web2"])
    assert first == Application(targets=["web"], version="1", versions={"web2": "2"})
    assert had(first) == {"web1": "1", "web2": "2"}
    assert deploying.folders("hello", first) == {b"applications/hello": "1", b"applications/hello~2": "2"}
    assert deploying.activated(DOMAIN, first, "2", ["web"]) == Application(targets=["web"], version="2")


def test_a_folder_stays_while_somebody_has_what_is_in_it() -> None:
    """api goes on with what applications/hello holds, hand-made or not: only web changes."""
    for own in ("1", None):
        after = deploying.activated(DOMAIN, Application(targets=["web", "api"], version=own), "2", ["web"])
        assert after == Application(targets=["web", "api"], version=own, versions={"web": "2"})
        assert had(after) == {"web1": "2", "web2": "2", "api1": own}


def test_disabling_and_enabling() -> None:
    hello = Application(targets=["web", "alone"], version="2", versions={"web2": "1"})
    off = deploying.disabled(DOMAIN, hello, ["web"])
    assert had(off) == {"alone": "2"}
    one = deploying.enabled(DOMAIN, off, ["web2"])
    assert had(one) == {"alone": "2", "web2": "1"}
    assert had(deploying.enabled(DOMAIN, one, ["web"])) == {"alone": "2", "web1": "2", "web2": "1"}
    own = Application(targets=["web", "web1"], version="2")
    assert had(deploying.disabled(DOMAIN, own, ["web"])) == {}
    assert had(deploying.enabled(DOMAIN, Application(version="1"), ["api"])) == {"api1": "1"}


def test_undeploying_from_targets() -> None:
    hello = Application(targets=["web", "alone"], version="2", versions={"web2": "1"}, disabled=["web1"])
    assert deploying.undeployed(DOMAIN, "hello", hello, ["web"]) == Application(
        targets=["alone"], version="2"
    )
    with pytest.raises(UsageError, match="as a member of web") as raised:
        deploying.undeployed(DOMAIN, "hello", hello, ["web1"])
    assert "dasctl disable hello --target web1" in raised.value.hint
    with pytest.raises(UsageError, match="not deployed to api"):
        deploying.undeployed(DOMAIN, "hello", hello, ["api"])


def test_what_is_announced_changes_nobody() -> None:
    hello = Application(targets=["web"], version="1")
    assert deploying.announced(DOMAIN, hello, "2", ["web"]) == hello
    later = deploying.announced(DOMAIN, hello, "2", ["alone"])
    assert had(later) == had(hello) and later.versions == {"alone": "2"}
    assert had(deploying.enabled(DOMAIN, later, ["alone"])) == {"web1": "1", "web2": "1", "alone": "2"}


def test_random_commands_keep_the_domain_valid_and_others_untouched() -> None:
    chance = random.Random(5)
    names = [*DOMAIN.clusters, *DOMAIN.instances]
    for _ in range(400):
        hello = Application(version=chance.choice([None, "1"]))
        for _ in range(12):
            targets = chance.sample(names, chance.randrange(1, 3))
            touched = set(deploying.instances_of(DOMAIN, targets))
            match chance.randrange(4):
                case 0:
                    version = chance.choice("123")
                    after = deploying.activated(DOMAIN, hello, version, targets)
                    mine = {name: version for name in touched if name in had(after)}
                    assert {name: v for name, v in had(after).items() if name in touched} == mine
                    direct = {name for name in targets if name in DOMAIN.instances}
                    assert direct <= mine.keys()
                case 1:
                    after = deploying.enabled(DOMAIN, hello, targets)
                    assert touched <= had(after).keys()
                case 2:
                    targets = [name for name in targets if deploying.is_known_at(DOMAIN, hello, name)]
                    touched = set(deploying.instances_of(DOMAIN, targets))
                    after = deploying.disabled(DOMAIN, hello, targets)
                    assert not touched & had(after).keys()
                case _:
                    try:
                        after = deploying.undeployed(DOMAIN, "hello", hello, targets)
                    except UsageError:
                        continue
            assert validate.faults(domain_of(after)) == ()
            before, now = had(hello), had(after)
            assert all(before.get(name) == now.get(name) for name in DOMAIN.instances if name not in touched)
            assert edited_again(hello, after) == after
            hello = after


def edited_again(before: Application, after: Application) -> Application:
    """What the edits make of the entry."""
    values = {key: getattr(before, key) for key in ("targets", "version", "versions", "disabled")}
    for edit in deploying.edits("hello", before, after):
        default = getattr(Application(), edit.path[2])
        values[edit.path[2]] = edit.value if isinstance(edit, Put) else default
    return Application(**values)


def test_next_versions() -> None:
    assert deploying.next_version([]) == "1"
    assert deploying.next_version(["1", "9", "10", "1.5", "99.0", "", "٣"]) == "11"


def test_words_for_targets() -> None:
    assert deploying.targets_of(DOMAIN, ["domain"]) == ("web", "api", "alone")
    assert deploying.targets_of(DOMAIN, ["web2,api", "web[1-2]"]) == ("api", "web1", "web2")
    assert deploying.targets_of(DOMAIN, []) == ()
    with pytest.raises(UsageError):
        deploying.targets_of(DOMAIN, ["nobody"])


# What is kept beside the archives.

RECORD = Record(
    name="hello", version="1.0", archive="hello.war", sha256="ab", size=3, unpacked=5, files=2, when=1.5, who="anna",
    host="das", origin="/tmp/\udcff.war",
)  # fmt: skip
PATH = b"applications/__internal/hello/1.0/deployment.json"


def test_a_record_is_read_as_it_was_written() -> None:
    assert record_in(RECORD.as_bytes(), PATH) == RECORD
    assert b'"bytes": 3' in RECORD.as_bytes() and b'"from"' in RECORD.as_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"format": 1}', RECORD.as_bytes().replace(b'"ab"', b"7"),
        RECORD.as_bytes().replace(b"hello.war", b"../x"), RECORD.as_bytes().replace(b'"1.0"', b'"2.0"'), b"\xff",
    ],
)  # fmt: skip
def test_records_that_are_none(data: bytes) -> None:
    with pytest.raises(DasctlError, match=r"deployment\.json"):
        record_in(data, PATH)


def test_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(FormatTooNew, match="format 2"):
        record_in(RECORD.as_bytes().replace(b'"format": 1', b'"format": 2'), PATH)


def test_going_back_and_back_again() -> None:
    before = (
        Before().passed({"web": "1", "api": None}, "2").passed({"web": "2"}, "3").passed({"web": "3"}, "3")
    )
    assert before_in(before.as_bytes(), b"active.json") == before
    assert before.last("web", ["1", "2", "3"], "3") == "2"
    assert before.last("web", ["1", "3"], "3") == "1"  # 2 was undeployed
    assert before.last("api", ["1"], "2") is None
    back = before.back("web", "2")
    assert back.last("web", ["1", "2", "3"], "2") == "1"
    assert back.back("web", "1").last("web", ["1", "2", "3"], "1") is None

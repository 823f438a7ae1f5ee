from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasctl.core.domain import Cluster, Config, Domain, Instance, Node, Settings
from dasctl.core.targets import fold, resolve, resolve_nodes
from dasctl.errors import UsageError


def domain_with(*instances: str) -> Domain:
    return Domain(
        format=1,
        domain=Settings(name="d", id=""),
        nodes={"n1": Node(host="a"), "n2": Node(host="b"), "spare": Node(host="c")},
        configs={"c": Config(start="x")},
        clusters={"web": Cluster(config="c"), "api": Cluster(config="c"), "empty": Cluster(config="c")},
        instances={
            name: Instance(node=f"n{number % 2 + 1}", cluster="api" if name.startswith("api") else "web")
            for number, name in enumerate(instances)
        },
    )


DOMAIN = domain_with("web1", "web2", "web3", "web7", "api1", "api-02", "api-03")


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["domain"], "web1 web2 web3 web7 api1 api-02 api-03"),
        (["web"], "web1 web2 web3 web7"),
        (["web3", "web1", "web3"], "web1 web3"),
        (["node:n2"], "web2 web7 api-02"),
        (["node:n[1-2]"], "web1 web2 web3 web7 api1 api-02 api-03"),
        (["node:s*"], ""),
        (["web[1-3,7]"], "web1 web2 web3 web7"),
        (["api-[02-03]"], "api-02 api-03"),
        (["*1"], "web1 api1"),
        (["web1,api1,web[2,3]"], "web1 web2 web3 api1"),
        (["empty"], ""),
        (["em*"], ""),
        ([], ""),
    ],
)
def test_what_targets_mean(targets: list[str], names: str) -> None:
    assert resolve(DOMAIN, targets) == tuple(names.split())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("wbe1", "no instance or cluster named 'wbe1'; did you mean 'web1'?"),
        ("n1", "did you mean 'node:n1'?"),
        ("node:n9", "no node named 'n9'; did you mean 'n1'?"),
        ("node:x*", "no node matches 'x*'"),
        ("web[1-4]", "no instance or cluster named 'web4'"),
        ("zz*", "no instance or cluster matches 'zz*'"),
        ("web[1-", "brackets"),
        ("web[a]", "'a' is not a range"),
        ("web[3-1]", "backwards"),
        ("web[1-999999999999]", "more than"),
        ("web[1-999][1-999]", "more than"),
        ("web1,,web2", "an empty name"),
        ("", "an empty name"),
    ],
)
def test_targets_that_mean_nothing(target: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(DOMAIN, [target])
    assert message in caught.value.message


def test_nodes() -> None:
    assert resolve_nodes(DOMAIN, []) == ("n1", "n2", "spare")
    assert resolve_nodes(DOMAIN, ["n[1-2]", "node:n1"]) == ("n1", "n2")
    with pytest.raises(UsageError, match="no node named 'n3'"):
        resolve_nodes(DOMAIN, ["n3"])


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ("", ""),
        ("web7", "web7"),
        ("web1 web2 web3 web7", "web[1-3,7]"),
        ("web3 web1 web1", "web[1,3]"),
        ("web9 web10 web11", "web[9-11]"),
        ("n08 n09 n10 n11", "n[08-11]"),
        ("n9 n09 n10", "n9,n[09-10]"),
        ("api web1 web2 db-1a db-2a", "api,web[1-2],db-[1-2]a"),
        ("n0 n1 n00", "n[0-1],n00"),
    ],
)
def test_folding(names: str, folded: str) -> None:
    assert fold(names.split()) == folded


@given(st.sets(st.from_regex(r"[a-b]?[0-2]{0,3}-?[0-2]{1,3}c?", fullmatch=True), min_size=1))
def test_what_is_folded_means_the_same(names: set[str]) -> None:
    ordered = tuple(sorted(names))
    assert resolve(domain_with(*ordered), [fold(ordered)]) == ordered

"""What `set` makes of names and texts: values of the right type, edits, and why some are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.test_dotted import DATA

from dasctl.core.assigning import assigned, edits_of
from dasctl.core.decoding import decoded
from dasctl.core.dotted import DottedError
from dasctl.core.dotted_values import text_of
from dasctl.core.edits import Drop, Edit, Put, edited

DOMAIN = decoded(DATA).domain


def made(*words: str, unset: tuple[str, ...] = (), data: dict[str, Any] = DATA) -> list[Edit]:
    given = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    found = assigned(decoded(data).domain, data, given, unset)
    assert found.faults == ()
    return edits_of(found.changes, data)


VALUES: list[tuple[str, Any]] = [
    ("nodes.n1.port=22", 22),
    ("nodes.n1.host=10", "10"),
    ("nodes.n1.host=", ""),
    ("domain.criterion=hash", "hash"),
    ("domain.property.x=8080", 8080),
    ("domain.property.x=true", True),
    ("domain.property.x=1.5", 1.5),
    ("domain.property.x=no", "no"),
    ("domain.property.x=0644", "0644"),
    ("domain.property.x=1e3", "1e3"),
    ("domain.property.x=null", "null"),
    ("domain.property.x=~", "~"),
    ("domain.property.x=", ""),
    ("domain.property.x=a=b", "a=b"),
    ("domain.property.x= a ", " a "),
    ("configs.c.env.A=1", 1),
    ("configs.c.ready.tcp=8080", 8080),
    ("configs.c.ready.tcp=h:8080", "h:8080"),
    ("configs.c.ready.timeout=5", 5),
    ("configs.c.ready.timeout=true", "true"),
    ("configs.c.start=true", "true"),
    ("applications.hello.version=2", "2"),
    ("applications.hello.versions.web2=2", "2"),
    ("applications.hello.targets=web", ["web"]),
    ("applications.hello.targets=web,web1", ["web", "web1"]),
    ("applications.hello.targets=[web, web1]", ["web", "web1"]),
    ('applications.hello.targets=["web", "web1"]', ["web", "web1"]),
    ("applications.hello.targets=['web']", ["web"]),
    ("applications.hello.targets=", []),
    ("applications.hello.targets=[]", []),
    ("configs.c.exclude=[ab].txt", ["[ab].txt"]),
    ("configs.c.exclude=[ab].txt,*.[ch]", ["[ab].txt", "*.[ch]"]),
    ('configs.c.exclude=["a,b"]', ["a,b"]),
]


@pytest.mark.parametrize(("word", "value"), VALUES)
def test_a_text_becomes_what_its_key_demands(word: str, value: Any) -> None:
    (edit,) = made(word)
    assert isinstance(edit, Put)
    assert (edit.value, type(edit.value)) == (value, type(value))


WRONG = [
    ("nodes.n1.port=abc", "nodes/n1/port: expected a whole number, found 'abc'"),
    ("nodes.n1.port=", "nodes/n1/port: expected a whole number, found ''"),
    ("nodes.n1.port=1.5", "nodes/n1/port: expected a whole number, found 1.5"),
    ("nodes.n1.port=022", "nodes/n1/port: expected a whole number, found '022'"),
    ("domain.commit=togther", "'togther' is not one of each, together; did you mean 'together'?"),
    ("domain.revisions=true", "domain/revisions: expected a whole number, found true"),
    ("configs.c.exclude=[1]", None),
    ("domain.property.x=\udcff", "domain/properties/x: '\\udcff' is not UTF-8"),
    ("applications.hello.targets=[1, 2]", "applications/hello/targets/0: expected text, found 1"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "message"), WRONG)
def test_a_text_of_the_wrong_type_is_told_with_its_place(word: str, message: str | None) -> None:
    name, _, text = word.partition("=")
    found = assigned(DOMAIN, DATA, [(name, text)], [])
    assert found.faults
    assert message is None or message in str(found.faults[0])


@pytest.mark.parametrize(
    "word",
    [
        "nodes.a.b.port=22", "domain.criterion=modtime", "instances.web2.property.http.port=8082",
        "applications.hello.targets=[web,solo]", "configs.c.ready.timeout=30s", "applications.hello.exclude=",
    ],
)  # fmt: skip
def test_the_value_that_is_there_already_makes_no_edit(word: str) -> None:
    assert made(word) == []


def test_a_quoted_number_counts_as_the_number() -> None:
    data = edited(DATA, [Put(path=("domain", "properties", "port"), value="8080")])
    assert made("domain.property.port=8080", data=data) == []
    assert made("domain.property.port=8081", data=data) == [
        Put(path=("domain", "properties", "port"), value=8081)
    ]


def test_what_is_removed() -> None:
    assert made(unset=("instances.web2.property.http.port",)) == [
        Drop(path=("instances", "web2", "properties", "http.port"))
    ]
    assert made(unset=("configs.c.property",)) == [Drop(path=("configs", "c", "properties"))]
    assert made(unset=("nodes.n1.port", "configs.c.drain", "domain.criterion")) == []


def test_what_may_not_be_empty_goes_with_its_last_key() -> None:
    signal, reload = ("configs", "c", "reload", "signal"), ("configs", "c", "reload")
    assert made(unset=("configs.c.reload.signal",)) == [Drop(path=signal), Drop(path=reload)]
    assert made("configs.c.reload.command=x", unset=("configs.c.reload.signal",)) == [
        Drop(path=signal), Put(path=(*reload, "command"), value="x"),
    ]  # fmt: skip


def test_a_key_under_its_old_name_is_changed_where_it_stands() -> None:
    data = edited(DATA, [Put(path=("domain", "history"), value=5)])
    assert made("domain.revisions=7", data=data) == [Put(path=("domain", "history"), value=7)]
    assert made("domain.revisions=5", data=data) == []
    assert made(unset=("domain.revisions",), data=data) == [Drop(path=("domain", "history"))]


REFUSED = [
    (["format=2"], [], "format is never changed"),
    (["domain.id=x"], [], "domain.id is never changed"),
    ([], ["domain.id"], "domain.id is never changed"),
    ([], ["domain.name"], "domain.name cannot be without a value"),
    ([], ["nodes.n1"], "nodes.n1 is not removed by `set`"),
    ([], ["nodes"], "nodes is not removed by `set`"),
    (["clusters.web.property=x"], [], "clusters.web.property is no single value"),
    (["nodes.n1=x"], [], "nodes.n1 is no single value"),
    (["nodes.new.host=x"], [], "no node named 'new'"),
    (["nodes.n1.port=22", "nodes.n1.port=23"], [], "given twice"),
    (["nodes.n*.port=22", "nodes.n1.port=23"], [], "given twice"),
    (["nodes.n1.port=22"], ["nodes.n1.port"], "given twice"),
    (["domain.property.x=1"], ["domain.property"], "given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "unset", "message"), REFUSED)
def test_what_is_refused(words: list[str], unset: list[str], message: str) -> None:
    with pytest.raises(DottedError) as raised:
        made(*words, unset=tuple(unset))
    assert message in raised.value.message


def test_the_same_said_twice_is_said_once() -> None:
    assert len(made("nodes.n1.port=22", "nodes.*.port=22")) == 2
    assert made("nodes.n1.port=22", "node.n1.port=22") == [Put(path=("nodes", "n1", "port"), value=22)]


@pytest.mark.parametrize(
    "value", [["a"], [], ["a,b"], ["[x]"], [" a"], ["'a'"], [""], ["", ""], True, 0.5, "x", 3]
)
def test_values_as_text_can_be_read_again(value: Any) -> None:
    word = "configs.c.exclude" if isinstance(value, list) else "domain.property.x"
    made_of = made(f"{word}={text_of(value)}")
    assert (made_of[0].value if made_of else []) == value  # type: ignore[union-attr]

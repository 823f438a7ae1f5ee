"""Dotted names: what each means, how each value is called, and that both agree whatever names a domain has."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from dasctl.adapters.yaml_edit import edit_text
from dasctl.adapters.yaml_text import parsed
from dasctl.core.assigning import assigned, edits_of
from dasctl.core.decoding import decoded
from dasctl.core.domain import Domain
from dasctl.core.dotted import (
    DottedError,
    Pattern,
    is_pattern,
    name_of,
    names_in,
    place_of,
    places_of,
    settings,
)
from dasctl.core.dotted_values import text_of
from dasctl.core.levels import found_for

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"
DATA: dict[str, Any] = {
    "format": 1,
    "domain": {"name": "shop", "id": ID, "properties": {"greeting": "hello", "home": "${instance.dir}/x"}},
    "areas": {"lib": {"exclude": ["*.tmp"]}},
    "nodes": {"n1": {"host": "a"}, "a.b": {"host": "b", "port": 22}, "a": {"host": "c"}},
    "configs": {
        "c": {
            "start": "serve ${http.port}",
            "env": {"LANG": "C"},
            "reload": {"signal": "HUP"},
            "properties": {"http.port": 8080, "url": "http://${node.host}:${http.port}"},
        },
        "c.env": {"start": "x"},
    },
    "clusters": {"web": {"config": "c", "properties": {"theme": "dark", "config": "odd"}}, "web.property": {"config": "c"}},
    "instances": {
        "web1": {"node": "n1", "cluster": "web"},
        "web2": {"node": "a.b", "cluster": "web", "properties": {"http.port": 8082}},
        "solo": {"node": "n1", "config": "c"},
    },
    "applications": {"hello": {"targets": ["web", "solo"], "versions": {"web2": "1"}}},
}  # fmt: skip
DOMAIN = decoded(DATA).domain

MEANT = [
    ("a key", "nodes.n1.host", ("nodes", "n1", "host")),
    ("a key without a value", "nodes.n1.user", ("nodes", "n1", "user")),
    ("the section's singular", "node.n1.host", ("nodes", "n1", "host")),
    ("a property", "clusters.web.property.theme", ("clusters", "web", "properties", "theme")),
    ("a property in YAML's word", "clusters.web.properties.theme", ("clusters", "web", "properties", "theme")),
    ("a property with dots", "clusters.web.property.http.port", ("clusters", "web", "properties", "http.port")),
    ("a dot behind a backslash", r"clusters.web.property.http\.port", ("clusters", "web", "properties", "http.port")),
    ("the domain's own", "domain.property.greeting", ("domain", "properties", "greeting")),
    ("a key below a key", "configs.c.reload.signal", ("configs", "c", "reload", "signal")),
    ("a variable", "configs.c.env.LANG", ("configs", "c", "env", "LANG")),
    ("a version", "applications.hello.versions.web2", ("applications", "hello", "versions", "web2")),
    ("an area", "areas.lib.exclude", ("areas", "lib", "exclude")),
    ("the longest name that means something", "nodes.a.b.host", ("nodes", "a.b", "host")),
    ("the name that is exactly there", "nodes.a.host", ("nodes", "a", "host")),
    ("a name with its dot marked", r"nodes.a\.b.port", ("nodes", "a.b", "port")),
    ("as it is printed, before all else", "clusters.web.property.config", ("clusters", "web", "properties", "config")),
    ("the other one, marked", r"clusters.web\.property.config", ("clusters", "web.property", "config")),
    ("an entry", "nodes.n1", ("nodes", "n1")),
    ("what stands below", "configs.c.ready", ("configs", "c", "ready")),
    ("a section", "nodes", ("nodes",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path"), [row[1:] for row in MEANT], ids=[row[0] for row in MEANT])
def test_a_name_means(text: str, path: tuple[str, ...]) -> None:
    assert place_of(text, DOMAIN).path == path


NOTHING = [
    ("nodes.n9.host", "no node named 'n9'; did you mean 'n1'?", "create-node-ssh"),
    ("nodes.n1.prot", "nodes.n1 has no 'prot'; did you mean 'port'?", "host, port, user"),
    ("nodes.a.b.prot", r"nodes.a\.b has no 'prot'; did you mean 'port'?", "host, port"),
    ("nodez.n1", "the domain has no 'nodez'; did you mean 'nodes'?", "nodes, configs"),
    ("configs.c.restart_on", "configs.c has no 'restart_on'; did you mean 'restart-on'?", ""),
    ("nodes.n1.port.x", "nodes.n1.port is a value, and has no 'x' below it", ""),
    ("instances.web9.node", "no instance named 'web9'; did you mean 'web1'?", "create-instance"),
    ("nodes..host", "a word is missing", ""),
    ("", "a word is missing", ""),
    ("nodes.n1.", "a word is missing", ""),
    ("nodes.n1\\", "ends with a backslash", "\\\\"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message", "hint"), NOTHING)
def test_a_name_that_means_nothing_says_why(text: str, message: str, hint: str) -> None:
    with pytest.raises(DottedError) as raised:
        place_of(text, DOMAIN)
    assert message in raised.value.message
    assert hint in raised.value.hint


PATTERNS = [
    ("nodes.*.host", ["nodes.n1.host", r"nodes.a\.b.host", "nodes.a.host"]),
    ("node.n*.host", ["nodes.n1.host"]),
    ("*.http.port", ["configs.c.property.http.port", "instances.web2.property.http.port"]),
    (r"nodes.a\.*", [r"nodes.a\.b.host", r"nodes.a\.b.port"]),
    ("instances.web*.properties.*", ["instances.web2.property.http.port"]),
    ("clusters.w*b", ["clusters.web.config", "clusters.web.property.theme", "clusters.web.property.config"]),
    ("*.LANG", ["configs.c.env.LANG"]),
    ("*.http", []),
    (r"nodes.\*", []),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "found"), PATTERNS)
def test_a_pattern_matches(pattern: str, found: list[str]) -> None:
    assert is_pattern(pattern) == (pattern != r"nodes.\*")
    fits = Pattern(pattern)
    assert [each.name for each in settings(DOMAIN, DATA) if fits.matches(each.path)] == found


def test_a_star_in_what_is_set_stands_for_entries() -> None:
    assert [place.name for place in places_of("instance.web*.property.http.port", DOMAIN)] == [
        "instances.web1.property.http.port", "instances.web2.property.http.port",
    ]  # fmt: skip
    assert [place.name for place in places_of("nodes.a*.port", DOMAIN)] == [
        r"nodes.a\.b.port",
        "nodes.a.port",
    ]
    for text in ("*.n1.host", "nodes.n1.*", "domain.*", "nodes.z*.host"):
        with pytest.raises(DottedError):
            places_of(text, DOMAIN)


LEVELS = [
    ("instances.web2.property.http.port", 8082, "instance", "web2"),
    ("instances.web1.property.http.port", 8080, "config", "c"),
    ("instances.web1.property.theme", "dark", "cluster", "web"),
    ("instances.solo.property.greeting", "hello", "domain", ""),
    ("clusters.web.property.http.port", 8080, "config", "c"),
    ("clusters.web.property.greeting", "hello", "domain", ""),
    ("instances.web1.property.node.host", "a", "built-in", ""),
    ("domain.criterion", "modtime", "default", ""),
    ("configs.c.ready.timeout", "30s", "default", ""),
    ("applications.hello.exclude", [], "default", ""),
    ("areas.lib.exclude", ["*.tmp"], "area", "lib"),
    (r"nodes.a\.b.port", 22, "node", "a.b"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "level", "of"), LEVELS)
def test_a_value_is_found_at_its_level(text: str, value: Any, level: str, of: str) -> None:
    (found,) = found_for(DOMAIN, DATA, text, resolved=False)
    assert (found.value, found.level, found.of) == (value, level, of)
    assert name_of(found.path) == text


@pytest.mark.parametrize(
    "text", ["nodes.n1.port", "instances.solo.property.theme", "configs.c.drain.command", "releases"]
)
def test_what_has_no_value_is_not_found(text: str) -> None:
    assert found_for(DOMAIN, DATA, text, resolved=False) == []


def test_resolved_properties_are_those_that_the_instance_gets() -> None:
    found = {
        name_of(each.path): each.value
        for each in found_for(DOMAIN, DATA, "instances.web2.property", resolved=True)
    }
    assert found["instances.web2.property.url"] == "http://b:8082"
    assert found["instances.web2.property.theme"] == "dark"
    assert found["instances.web2.property.home"] == "${instance.dir}/x"
    assert found["instances.web2.property.cluster.name"] == "web"
    (raw,) = found_for(DOMAIN, DATA, "instances.web2.property.url", resolved=False)
    assert raw.value == "http://${node.host}:${http.port}"


@pytest.mark.parametrize(
    "data", [{}, [], None, {"nodes": [1]}, {"nodes": {"n1": 3}}, {"configs": {"c": {"env": []}}}]
)
def test_names_for_completion_need_no_valid_domain(data: Any) -> None:
    assert "domain.criterion" in set(names_in(data))


def test_names_for_completion_have_keys_without_values() -> None:
    names = set(names_in(DATA))
    assert {
        "nodes.n1.user",
        r"nodes.a\.b.port",
        "configs.c.drain.command",
        "clusters.web.property.theme",
    } <= names
    assert "format" not in names


# Whatever names there are.

NAMES = st.sampled_from(
    ["a", "a.b", "a.b.c", "b", "property", "env", "a.env", "a.property", "host", "config", "web.config"]
)
KEYS = st.sampled_from(
    ["http.port", "host", "config", "x", "property", "properties", "start", "env.X", "properties.a", "-"]
)
VALUES = st.one_of(
    st.integers(-(10**17), 10**17), st.booleans(), st.sampled_from([0.5, -1.25, 10.0]),
    st.sampled_from(["no", "0644", "1e3", "1.10", "", "null", "~", "a b", "a,b", "[x]", "'q'"]),
    st.sampled_from([" x ", "a: b", "# c", "8080", "ü\t\n"]),
)  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(["web", "a,b", "[ab].c", " x", "x ", "'q'", '"', "", "é", "*.[ch]", "[", "a\\ b"]),
    max_size=3,
)


@st.composite
def domains(draw: st.DrawFn) -> dict[str, Any]:
    def entries(make: Any) -> dict[str, Any]:
        return {name: make() for name in draw(st.lists(NAMES, unique=True, min_size=1, max_size=4))}

    def properties() -> dict[str, Any]:
        return draw(st.dictionaries(KEYS, VALUES, max_size=3))

    return {
        "format": 1,
        "domain": {"name": "shop", "id": ID, "exclude": draw(TEXTS), "properties": properties()},
        "nodes": entries(lambda: {"host": "h", "port": 22}),
        "configs": entries(lambda: {
            "start": draw(st.sampled_from(["x", "a\nb\n", " y"])), "env": properties(), "restart-on": draw(TEXTS),
            "ready": {"tcp": draw(st.sampled_from([80, "80", "h:80"])), "timeout": draw(st.sampled_from([3, 0.5, "3s"]))},
            "properties": properties(),
        }),
        "clusters": entries(lambda: {"config": "a", "properties": properties()}),
    }  # fmt: skip


@given(domains())
def test_every_name_can_be_got_and_set_to_its_own_value(data: dict[str, Any]) -> None:
    domain: Domain = decoded(data).domain
    known = list(settings(domain, data))
    assert len({each.name for each in known}) == len(known)
    for each in known:
        place = place_of(each.name, domain)
        assert place.path == each.path
        (found,) = found_for(domain, data, each.name, resolved=False)
        assert (found.value, found.level == "default") == (each.value, not each.written)
        if each.path[-1] == "id":
            continue
        same = assigned(domain, data, [(each.name, text_of(each.value))], [])
        assert (same.faults, edits_of(same.changes, data)) == ((), [])


@settings_of_hypothesis(max_examples=60, deadline=None)
@given(domains(), st.data())
def test_what_is_set_stands_in_the_file_and_its_own_value_changes_no_byte(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    assert parsed(text).data == data
    domain: Domain = decoded(data).domain
    each = draw.draw(
        st.sampled_from([each for each in settings(domain, data) if each.path != ("domain", "id")])
    )
    same = assigned(domain, data, [(each.name, text_of(each.value))], [])
    assert edit_text(text, edits_of(same.changes, data)) == text
    other = draw.draw(st.one_of(VALUES.map(text_of), TEXTS.map(text_of)))
    made = assigned(domain, data, [(each.name, other)], [])
    if made.faults:
        return
    after = parsed(edit_text(text, edits_of(made.changes, data))).data
    (found,) = found_for(decoded(after).domain, after, each.name, resolved=False)
    assert text_of(found.value) == text_of(made.changes[0].after)
    gone = parsed(edit_text(text, edits_of(made.changes, data))).data
    assert {key: gone[key] for key in gone if key != each.path[0]} == {
        key: data[key] for key in data if key != each.path[0]
    }

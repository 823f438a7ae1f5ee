"""Every rule over the whole of a domain, each with the one edit that breaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dasctl.adapters.yaml_text import domain_of
from dasctl.core.decoding import decoded
from dasctl.core.definition import definition
from dasctl.core.durations import seconds
from dasctl.core.edits import Drop, Put, edited
from dasctl.core.validate import faults, warnings

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"


def shop() -> dict[str, Any]:
    return {
        "format": 1,
        "domain": {"name": "shop", "id": ID, "properties": {"greeting": "hello"}},
        "nodes": {"n1": {"host": "a"}, "n2": {"host": "b"}},
        "configs": {
            "c": {
                "start": "serve ${http.port}",
                "ready": {"http": "http://localhost:${http.port}/"},
                "properties": {"http.port": 8080},
            },
        },
        "clusters": {"web": {"config": "c"}},
        "instances": {"web1": {"node": "n1", "cluster": "web"}, "web2": {"node": "n2", "cluster": "web"}},
        "applications": {"hello": {"targets": ["web"]}},
    }


def found(*edits: Put | Drop) -> list[str]:
    result = decoded(edited(shop(), edits))
    return [str(fault) for fault in (*result.faults, *(() if result.faults else faults(result.domain)))]


def put(path: str, value: Any) -> Put:
    return Put(path=tuple(path.split("/")), value=value)


def test_the_shop_is_valid() -> None:
    assert found() == []


C = "configs/c"
RULES = [
    ("domain/name", "my shop", "domain/name: 'my shop' is not a name"),
    ("domain/name", "server", "the name 'server' is reserved"),
    ("domain/id", "6f1c", "domain/id: '6f1c' is not a UUID"),
    ("domain/criterion", "modtimes", "'modtimes' is not one of modtime, hash; did you mean 'modtime'?"),
    ("domain/deviations", "x", "domain/deviations: 'x' is not one of overwrite, keep, fail"),
    ("domain/history", 0, "domain/revisions: at least 1"),
    ("domain/revisions", 0, "domain/revisions: at least 1"),
    ("domain/commit", "togther", "'togther' is not one of each, together; did you mean 'together'?"),
    ("domain/keep", ["!"], "domain/keep/0: '!' is not a gitignore pattern"),
    ("areas", {"docrot": {}}, "areas/docrot: unknown key; did you mean 'docroot'?"),
    ("areas", {"docroot": []}, "areas/docroot: expected a mapping, found a list"),
    ("areas", {"docroot": {"exlude": ["a"]}}, "areas/docroot/exlude: unknown key; did you mean 'exclude'?"),
    ("areas", {"lib": {"exclude": ["a", "/"]}}, "areas/lib/exclude/1: the pattern '/' can match nothing"),
    ("areas", {"lib": {"keep": [True]}}, "areas/lib/keep/0: expected text, found true"),
    ("applications/hello/exclude", ["!"], "applications/hello/exclude/0: '!' is not"),
    ("configs/c/exclude", ["!"], "configs/c/exclude/0: '!' is not"),
    ("configs/c/keep", "x", "configs/c/keep: expected a list, found 'x'"),
    ("domain/exclude", ["*.a", "!"], "domain/exclude/1: '!' is not a gitignore pattern"),
    ("domain/exclude", ["*.a", 1], "domain/exclude/1: expected text, found 1: put it in quotes"),
    ("nodes/n1/prot", 1, "nodes/n1/prot: unknown key; did you mean 'port'?"),
    ("nodes/n1/zzzzz", 1, "nodes/n1/zzzzz: unknown key; known are host, port, user, key, dir, jump"),
    ("nodes/n1", {}, "nodes/n1/host: this key is missing"),
    ("nodes/n1/port", 65536, "nodes/n1/port: a port is from 1 to 65535, not 65536"),
    ("nodes/n1/host", "-oProxyCommand=x", "nodes/n1/host: "),
    ("nodes/n1/user", "a b", "nodes/n1/user: "),
    ("nodes/n1/dir", "shop", "nodes/n1/dir: 'shop' is neither absolute nor begins with '~/'"),
    ("nodes/n1/dir", "~/a/../b", "contains '..'"),
    ("nodes/n1/jump", "n1", "the jumps lead in a circle: n1 -> n1"),
    ("nodes/n 3", {"host": "c"}, "nodes/n 3: 'n 3' is not a name"),
    (f"{C}/start", " ", "configs/c/start: an empty command"),
    (
        f"{C}/start",
        "x ${htp.port}",
        "configs/c/start: no property named 'htp.port' for web[1-2]; did you mean 'http.port'?",
    ),
    (f"{C}/start", "x ${http.port", "configs/c/start: '${http.port' is not closed"),
    (f"{C}/start", "x `${http.port}`", "stands inside backquotes"),
    (f"{C}/start", 'x "\0"', "a NUL character"),
    (f"{C}/env", {"A-B": "x"}, "configs/c/env/A-B: 'A-B' is not the name of an environment variable"),
    (f"{C}/env", {"DASCTL_NODE": "x"}, "dasctl's own"),
    (f"{C}/env", {"A": "${nix}"}, "configs/c/env/A: no property named 'nix' for web[1-2]"),
    (
        f"{C}/ready",
        {"tcp": 1, "log": "x"},
        "configs/c/ready: only one of http, tcp, command, log can be given",
    ),
    (f"{C}/ready", {"log": "("}, "configs/c/ready/log: '(' is not a regular expression"),
    (f"{C}/ready", {"http": "localhost:80"}, "configs/c/ready/http: 'localhost:80' is not a URL"),
    (f"{C}/ready", {"http": "http://localhost:${greeting}/"}, "'http://localhost:hello/' is not a URL"),
    (f"{C}/ready", {"tcp": 70000}, "configs/c/ready/tcp: '70000' is not an address"),
    (f"{C}/ready", {"timeout": "30 seconds"}, "configs/c/ready/timeout: '30 seconds' is not a duration"),
    (f"{C}/ready", {"timeout": "-1"}, "is not a duration"),
    (f"{C}/stop", {"signal": "TREM"}, "no signal named 'TREM'; did you mean 'TERM'?"),
    (f"{C}/stop", {"signal": "TERM", "command": "x"}, "only one of signal, command can be given"),
    (f"{C}/reload", {}, "configs/c/reload: one of signal, command must be given"),
    (f"{C}/drain", {}, "configs/c/drain"),
    (f"{C}/drain", {"command": " "}, "configs/c/drain/command: an empty command"),
    (
        f"{C}/drain",
        {"command": "x", "wait": "2 seconds"},
        "configs/c/drain/wait: '2 seconds' is not a duration",
    ),
    (f"{C}/drain", {"command": "x ${nix}"}, "configs/c/drain/command: no property named 'nix'"),
    (f"{C}/undrain", {"command": "x", "timeout": "x"}, "configs/c/undrain/timeout: 'x' is not a duration"),
    (f"{C}/undrain", {"command": "x ${"}, "configs/c/undrain/command: '${' is not closed"),
    (f"{C}/dump", " ", "configs/c/dump: an empty command"),
    (f"{C}/dump", "x ${nix}", "configs/c/dump: no property named 'nix'"),
    (f"{C}/dump", {"command": "x"}, "configs/c/dump"),
    (f"{C}/restart-on", ["!"], "configs/c/restart-on/0"),
    (f"{C}/restart_on", [], "configs/c/restart_on: unknown key; did you mean 'restart-on'?"),
    (f"{C}/properties/a b", 1, "'a b' is not the name of a property"),
    (f"{C}/properties/node.host", 1, "'node.host' is a built-in name"),
    (f"{C}/properties/list", [1], "configs/c/properties/list: expected text or a whole number, found a list"),
    (f"{C}/properties", {"http.port": 99999}, "configs/c/properties/http.port: a port is at most 65535"),
    ("configs/unused", {"start": "x ${"}, "configs/unused/start: '${' is not closed"),
    ("clusters/web/config", "d", "clusters/web/config: no config named 'd'"),
    ("clusters/server", {"config": "c"}, "clusters/server: the name 'server' is reserved"),
    ("instances/web1/node", "n9", "instances/web1/node: no node named 'n9'; did you mean 'n1'?"),
    ("instances/web1/cluster", "wbe", "instances/web1/cluster: no cluster named 'wbe'; did you mean 'web'?"),
    ("instances/web1/config", "c", "instances/web1: exactly one of cluster, config must be given"),
    ("instances/web1", {"node": "n1"}, "instances/web1: exactly one of cluster, config must be given"),
    ("instances/web1", {"node": "n1", "config": "x"}, "instances/web1/config: no config named 'x'"),
    ("instances/web", {"node": "n1", "config": "c"}, "there is a cluster named 'web', too"),
    ("instances/domain", {"node": "n1", "config": "c"}, "the name 'domain' is reserved"),
    ("instances/.x", {"node": "n1", "config": "c"}, "instances/.x: '.x' is not a name"),
    ("instances/" + "x" * 256, {"node": "n1", "config": "c"}, "at most 255 characters"),
    (
        "instances/web2/node",
        "n1",
        "instances/web2: http.port is 8080, and so is http.port of 'web1' on the node 'n1'",
    ),
    ("nodes/n2/host", "a", "on the host 'a' (nodes 'n1' and 'n2')"),
    ("instances/web1/properties", {"a": "${b}", "b": "x${a}"}, "stands for itself: a -> b -> a"),
    ("instances/web1/properties", {"a": "${nix}"}, "instances/web1/properties/a: no property named 'nix'"),
    ("domain/properties/x", "${http.prt}", "domain/properties/x: no property named 'http.prt' for web[1-2]"),
    (
        "applications/hello/targets",
        ["web", "wbe1"],
        "applications/hello/targets/1: no cluster or instance named 'wbe1'; did",
    ),
    ("applications/a b", {}, "applications/a b: 'a b' is not a name"),
]


@pytest.mark.parametrize(("path", "value", "says"), RULES, ids=[f"{r[0]}-{r[2][-20:]}" for r in RULES])
def test_what_breaks_a_rule(path: str, value: Any, says: str) -> None:
    assert any(says in fault for fault in found(put(path, value))), found(put(path, value))


GOOD = [
    ("nodes/n1/jump", "bastion.example.com"),
    ("nodes/n1/jump", "n2"),
    ("nodes/n1/dir", "/srv/shop"),
    (f"{C}/ready", {"tcp": "${http.port}"}),
    (f"{C}/ready", {"tcp": "127.0.0.1:80", "timeout": 5}),
    (f"{C}/ready", {}),
    (f"{C}/stop", {"signal": "SIGINT", "grace": "1.5m"}),
    (f"{C}/stop", {"command": "bin/stop ${instance.dir}"}),
    (f"{C}/reload", {"command": "x"}),
    (f"{C}/drain", {"command": "ssh lb drain ${instance.name}", "timeout": "1m", "wait": 2}),
    (f"{C}/dump", "jstack $DASCTL_PID; du -s ${instance.dir}"),
    (f"{C}/restart-on", []),
    ("instances/alone", {"node": "n1", "config": "c", "properties": {"http.port": 1}}),
    ("instances/web2", {"node": "n1", "cluster": "web", "properties": {"http.port": 1, "off.port": -1}}),
    ("applications/hello/targets", []),
    ("instances/_1.a-b", {"node": "n1", "config": "c", "properties": {"http.port": 2, "off.port": "none"}}),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_what_is_allowed(path: str, value: Any) -> None:
    assert found(put(path, value)) == []


def test_all_faults_of_type_are_found_at_once() -> None:
    result = found(
        put("nodes/n1/port", "x"), put("nodes/n2/hots", "x"), put("instances/web1", []), put("nope", 1)
    )
    assert [fault.split(":")[0] for fault in result] == [
        "nope",
        "nodes/n1/port",
        "nodes/n2/hots",
        "instances/web1",
    ]


def test_warnings_are_no_faults() -> None:
    data = edited(
        shop(),
        [
            put("configs/d", {"start": "x"}),
            put("configs/c/drain", {"command": "x"}),
            put("configs/d/undrain", {"command": "x"}),
            put("applications/a", {}),
            put("nodes/n2", {"host": "a", "port": 23}),
        ],
    )
    domain = decoded(data).domain
    assert faults(domain) == ()
    assert [str(warning) for warning in warnings(domain)] == [
        "configs/d: no cluster or instance uses this config",
        "applications/a: this application is deployed nowhere",
        "configs/c/drain: there is no undrain: after a rolling change nothing puts a server back",
        "configs/d/undrain: there is no drain: a rolling change takes no server out before it stops it",
        "instances/web2: http.port is 8080, and so is http.port of 'web1' on the host 'a' (nodes 'n1' and 'n2')",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("30s", 30), ("2m", 120), ("500ms", 0.5), ("1h", 3600), (30, 30), ("1.5", 1.5), (0.25, 0.25), ("0", 0)],
)
def test_durations(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 2", "1e3", "inf", "31000h", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        seconds(text)


def test_a_definition_is_resolved_and_its_own() -> None:
    domain = domain_of(
        f"""
format: 1
domain: {{name: shop, id: {ID}}}
nodes: {{n1: {{host: a}}, n2: {{host: b, key: secret-key}}}}
configs:
  c:
    start: exec serve --title ${{title}} --dir ${{instance.dir}}
    env: {{HOME: "${{instance.dir}}/home", DEBUG: true, COUNT: 3}}
    ready: {{command: "test -e ${{instance.dir}}/run/x", timeout: 1m}}
    stop: {{signal: sigint, grace: 500ms}}
    restart-on: [config/**, "!config/*.html", lib/ä.so]
    properties: {{title: "It's $5"}}
clusters: {{web: {{config: c}}}}
instances:
  web1: {{node: n1, cluster: web}}
  web2: {{node: n2, config: c, properties: {{password: hidden}}}}
"""
    )
    text = definition(domain, "web1")
    assert text.endswith(b"}\n")
    assert b"hidden" not in text
    assert b"secret-key" not in text
    document = json.loads(text)
    assert document["start"] == "exec serve --title 'It'\"'\"'s $5' --dir \"$DASCTL_INSTANCE_DIR\""
    assert document["env"] == {"HOME": "${instance.dir}/home", "DEBUG": "true", "COUNT": "3"}
    assert document["ready"] == {
        "kind": "command", "value": 'test -e "$DASCTL_INSTANCE_DIR"/run/x', "timeout": 60.0,
    }  # fmt: skip
    assert document["stop"] == {"kind": "signal", "value": "INT", "grace": 0.5}
    assert document["reload"] is None
    assert document["instance"] == {
        "name": "web1",
        "cluster": "web",
        "config": "c",
        "node": "n1",
        "host": "a",
    }
    assert document["properties"] == {"title": "It's $5"}
    assert len(document["restart_on"]) == 1
    assert json.loads(definition(domain, "web2"))["instance"]["cluster"] is None


NESTED = [
    ("/srv/a", "/srv/a/web1", "it is inside the folder of the instance 'web1' of the node 'n1'", ""),
    ("/srv/a", "/srv//a/./web1/docroot/", "it is inside the folder of the instance 'web1'", ""),
    ("/srv/a", "/srv/a/other", "", "it is inside the directory of the node 'n1' on the same host, /srv/a"),
    ("/srv/a", "/srv/a", "", "the node 'n1' on the same host has the same directory, /srv/a"),
    ("/srv/a", "/srv/ab", "", ""),
    ("~/a", "~/a/web1", "it is inside the folder of the instance 'web1'", ""),
    ("~/a", "/srv/a/web1", "", ""),
]


@pytest.mark.parametrize(("outer", "inner", "fault", "warning"), NESTED)
def test_directories_of_nodes_in_each_other(outer: str, inner: str, fault: str, warning: str) -> None:
    nodes = {
        "n1": {"host": "a", "dir": outer},
        "n2": {"host": "A", "dir": inner},
        "n3": {"host": "b", "dir": inner},
    }
    instances = {"web1": {"node": "n1", "cluster": "web"}, "web2": {"node": "n3", "cluster": "web"}}
    domain = decoded(edited(shop(), [put("nodes", nodes), put("instances", instances)])).domain
    told, odd = [[str(each) for each in found(domain) if "/dir" in str(each)] for found in (faults, warnings)]
    assert (len(told), len(odd)) == (bool(fault), bool(warning)), (told, odd)
    assert all(line.startswith("nodes/n2/dir: ") and (fault or warning) in line for line in (*told, *odd))


def test_a_home_is_the_logins_own() -> None:
    nodes = {
        "n1": {"host": "a", "user": "one", "dir": "~/a"}, "n2": {"host": "a", "user": "two", "dir": "~/a/web1"},
        "n3": {"host": "a", "port": 2222, "user": "one", "dir": "~/a/web1"},
    }  # fmt: skip
    domain = decoded(edited(shop(), [put("nodes", nodes)])).domain
    assert not [each for each in (*faults(domain), *warnings(domain)) if "director" in str(each)]

"""One suite for every Store: the folder on disk, and the one in memory."""

from __future__ import annotations

import difflib
import json
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.memory_store import MemoryStore
from dasctl.adapters.store import YamlStore, create_domain, find_domain
from dasctl.adapters.yaml_edit import edit_text
from dasctl.adapters.yaml_text import parsed
from dasctl.core.edits import Drop, Put, edited
from dasctl.errors import (
    DomainLocked,
    DomainNotFound,
    FormatTooNew,
    InvalidDomain,
    OperationFailed,
    UsageError,
)

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"

SHOP = f"""\
# The shop.
format: 1
domain: {{name: shop, id: {ID}}}

nodes:
  n1: {{host: a.example.com}}   # first
  n2:
    host: b.example.com
    # the second one listens elsewhere
    port: 2222

configs:
  web-config:
    start: exec serve --port ${{http.port}}   # comment with 'quotes' and a\ttab
    properties: {{http.port: 8080}}
clusters: {{web: {{config: web-config}}}}

instances:
  # one per node
  web1: {{node: n1, cluster: web}}

  web2: {{node: n2,   cluster: 'web'}}
  # web3 will follow

# the end
"""


def on_disk(text: str | None, tmp_path: Path, **clocks: Any) -> YamlStore:
    if text is not None:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "domain.yaml").write_bytes(text.encode())
    return YamlStore(tmp_path, **clocks)


def in_memory(text: str | None, tmp_path: Path, **clocks: Any) -> MemoryStore:
    return MemoryStore(text, root=tmp_path, **clocks)


@pytest.fixture(params=[on_disk, in_memory], ids=["disk", "memory"])
def store_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    return lambda text, **clocks: request.param(text, tmp_path, **clocks)


def text_of(store: Any) -> str:
    return store.text if isinstance(store, MemoryStore) else store.path.read_bytes().decode()


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """(lines that went, lines that came)."""
    diff = list(
        difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True), linejunk=None)
    )
    return [d[2:] for d in diff if d.startswith("- ")], [d[2:] for d in diff if d.startswith("+ ")]


# Loading.


def test_a_valid_domain_is_loaded(store_of: Callable[..., Any]) -> None:
    domain = store_of(SHOP).load()
    assert list(domain.instances) == ["web1", "web2"]
    assert domain.nodes["n2"].port == 2222
    assert domain.members("web") == ("web1", "web2")


def test_no_file_is_no_domain(store_of: Callable[..., Any]) -> None:
    with pytest.raises(DomainNotFound):
        store_of(None).load()


def test_warnings_have_lines(store_of: Callable[..., Any]) -> None:
    store = store_of(SHOP.replace("clusters:", "  spare: {start: x}\nclusters:"))
    line = SHOP[: SHOP.index("clusters:")].count("\n") + 1
    expected = f"config/domain.yaml:{line}: configs/spare: no cluster or instance uses this config"
    assert store.warnings(store.load()) == (expected,)


def faults_of(text: str) -> list[str]:
    with pytest.raises(InvalidDomain) as caught:
        MemoryStore(text).load()
    return list(caught.value.faults)


def test_all_faults_at_once_with_line_and_path() -> None:
    text = (
        SHOP.replace("node: n1", "node: n9").replace("port: 2222", "port: twenty").replace("start:", "strat:")
    )
    text += "wrong: 1\n"
    found = faults_of(text)
    where = {fault.split(": ")[1] for fault in found}
    assert {"nodes/n2/port", "configs/web-config/strat", "instances/web1/node", "wrong"} <= where
    line = text[: text.index("node: n9")].count("\n") + 1
    assert f"config/domain.yaml:{line}: instances/web1/node: no node named 'n9'; did you mean 'n1'?" in found
    assert any("did you mean 'start'?" in fault for fault in found)
    assert any("expected a whole number, found 'twenty'" in fault for fault in found)
    assert found == sorted(found, key=lambda fault: int(fault.split(":")[1]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "format: 1\nformat: 1\n",
            "config/domain.yaml:2: format: the key stands twice, in line 1 and line 2",
        ),
        ("a: [1\nb: 2\n", "config/domain.yaml:2:"),
        ("a:\n\tb: 1\n", "spaces"),
        ("a: \x01\n", "U+0001"),
        ("- 1\n", "is not a mapping"),
        ("", "is empty"),
        ("&a a: {b: *c}\n", "undefined alias"),
        ("a: &a {b: *a}\n", "contains itself"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "{a: " * 50_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        (
            "a: &a [x]\n"
            + "".join(f"b{n}: &b{n} [*a, *a, {f'*b{n - 1}, ' * 9 if n else ''}]\n" for n in range(9)),
            "deeply",
        ),
        ("a: 1\n---\nb: 2\n", "but found another document"),
        (f"domain: {{name: x, id: {ID}}}\n", "config/domain.yaml:1: format: this key is missing"),
        ("format: 0\n", "format: expected 1, found 0"),
        ("format: '1'\n", "format: expected a whole number, found '1'"),
        ("format: 1\ndomain:\n", "domain: this key is missing"),
        ("format: 1\ndomain: []\n", "domain: expected a mapping, found a list"),
        ("format: 1\nnodes: [a]\n", "nodes: expected a mapping, found a list"),
        ("format: 1\nnodes: {n1: }\n", "nodes/n1: expected a mapping, found nothing"),
        ("format: 1\nnodes: {n1: {host: 12}}\n", "put it in quotes"),
        ("format: 1\nnodes: !!set {n1}\n", "has no meaning here"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_bad_text_gets(text: str, says: str) -> None:
    found = faults_of(text)
    assert any(says in fault for fault in found), found


def test_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(FormatTooNew, match=r"config/domain\.yaml:2: format 2 is newer"):
        MemoryStore(SHOP.replace("format: 1", "format: 2")).load()


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    store = on_disk(SHOP, tmp_path)
    store.path.write_bytes(b"format: 1\n# \xff\n")
    with pytest.raises(InvalidDomain, match=r"config/domain.yaml:2: not UTF-8: the byte 0xff"):
        store.load()


def test_texts_stay_as_they_are_written() -> None:
    texts = "no, on, yes, 0644, 08081, 12:30, 1.10, 1e3, 0x1F, 2024-01-01, 1_000, True, .5"
    properties = ", ".join(f"p{number}: {text}" for number, text in enumerate(texts.split(", ")))
    text = SHOP.replace(
        "{node: n1, cluster: web}", f"{{node: n1, cluster: web, properties: {{{properties}}}}}"
    )
    assert list(MemoryStore(text).load().instances["web1"].properties.values()) == texts.split(", ")


def test_anchors_and_merges_are_read() -> None:
    text = SHOP.replace("web1: {node: n1, cluster: web}", "web1: &w {node: n1, cluster: web}").replace(
        "web2: {node: n2,   cluster: 'web'}", "web2: {<<: *w, node: n2}"
    )
    domain = MemoryStore(text).load()
    assert (domain.instances["web2"].node, domain.instances["web2"].cluster) == ("n2", "web")


def test_a_domain_of_a_thousand_instances_loads_in_time() -> None:
    entries = "".join(
        f"  w{i}: {{node: n1, cluster: web, properties: {{http.port: {i + 1}}}}}\n" for i in range(1000)
    )
    store = MemoryStore(SHOP.replace("  # web3 will follow\n", entries))
    begin = time.process_time()
    assert len(store.load().instances) == 1002
    assert time.process_time() - begin < 3


# Edits.

WEB3 = {"node": "n1", "cluster": "web", "properties": {"http.port": 8081}}

EDITS = [
    ("a new entry", [Put(path=("instances", "web3"), value=WEB3)], 0, 1),
    ("a property of a flow entry", [Put(path=("instances", "web1", "properties", "x"), value="y")], 1, 1),
    ("a key of a flow entry", [Put(path=("nodes", "n1", "port"), value=22)], 1, 1),
    ("a key of a block entry", [Put(path=("nodes", "n2", "port"), value=23)], 1, 1),
    ("a new key of a block entry", [Put(path=("nodes", "n2", "user"), value="deploy")], 0, 1),
    ("an entry again, one key less", [Put(path=("nodes", "n2"), value={"host": "b.example.com"})], 1, 0),
    ("a removed flow entry", [Drop(path=("instances", "web2"))], 1, 0),
    ("a removed block entry", [Drop(path=("nodes", "n2")), Drop(path=("instances", "web2"))], 5, 0),
    ("a flow section", [Put(path=("clusters", "api"), value={"config": "web-config"})], 1, 1),
    ("a new section", [Put(path=("applications", "hello"), value={"targets": ["web"]})], 0, 2),
    (
        "a long entry",
        [Put(path=("configs", "c2"), value={"start": "x" * 90, "env": {"A": "no", "B": "a: b # c"}})],
        0,
        3,
    ),
    ("nothing", [Put(path=("nodes", "n2", "port"), value=2222)], 0, 0),
    ("there and back", [Put(path=("instances", "web3"), value=WEB3), Drop(path=("instances", "web3"))], 0, 0),
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("end", [True, False], ids=["newline", "no newline"])
@pytest.mark.parametrize(("edits", "gone", "came"), [e[1:] for e in EDITS], ids=[e[0] for e in EDITS])
def test_an_edit_changes_only_the_lines_it_must(
    store_of: Callable[..., Any], edits: Any, gone: int, came: int, end: bool, newline: str
) -> None:
    text = (SHOP if end else SHOP.removesuffix("\n")).replace("\n", newline)
    store = store_of(text)
    store.edit(edits)
    after = text_of(store)
    assert parsed(after).data == edited(parsed(text).data, edits)
    went, new = changed_lines(text, after)
    if not end and new:  # a line behind the last one ends that one
        went, new = (
            [x for x in went if x.strip() != "# the end"],
            [x for x in new if x.strip() != "# the end"],
        )
    assert (len(went), len(new)) == (gone, came), (went, new)
    if newline == "\r\n":
        assert "\n" not in after.replace("\r\n", "")


SHAPES = {
    "no section": "",
    "empty mapping": "instances: {}  # none yet\n",
    "null": "instances:   # none yet\n",
    "null word": "instances: null  # none yet\n",
    "tilde at the end": "instances: ~",
    "empty without newline": "instances:",
    "flow": "instances: {a: {node: n1, config: c}, b: {node: n1, config: c}}  # x\n",
    "flow, lines": "instances: {\n  a: {node: n1, config: c},  # one\n  b: {node: n1, config: c}   # two\n}\n",
    "flow, lines, no comments": "instances: {\n  a: {node: n1, config: c},\n  b: {node: n1, config: c}\n}\n",
    "flow, comma": "instances: {a: {node: n1, config: c}, b: {node: n1, config: c},}\n",
    "block": "instances:\n   a:\n     node: n1   # x\n     config: c\n\n   b: {node: n1, config: c}\n   # end\n\n",
    "alias": "instances:\n  a: &a {node: n1, config: c}\n  b: *a\n",
    "merge": "instances:\n  a: &a\n    node: n1\n    config: c\n  b: {<<: *a}\n",
    "unicode": "instances:\n  a: {node: n1, config: c, properties: {p: 'ü𝄞'}}  # Grüße 𝄞\n  b: {node: n1, config: c}\n",
    "quoted keys": "instances:\n  'a': {\"node\": n1, 'config': c}\n  \"b\" : {node: n1, config: c}\n",
    "folded": (
        "instances:\n  a:\n    node: n1\n    config: c\n    properties:\n"
        "      p: >-\n        one\n        two\n\n  b: {node: n1, config: c}\n"
    ),
    "document marks": "instances:\n  a: {node: n1, config: c}\n  b: {node: n1, config: c}\n...\n",
}
HEAD = (
    f"%YAML 1.1\n---\nformat: 1\ndomain: {{name: d, id: {ID}}}\n"
    "nodes: {n1: {host: h}}\nconfigs: {c: {start: x}}\n"
)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_of_a_section(shape: str) -> None:
    head = HEAD if "..." in shape else HEAD.split("---\n")[1]
    text = head + shape
    new = {
        "node": "n1",
        "config": "c",
        "properties": {"q": 'it\'s "é" 𝄞: #', "empty": "", "tab": "a\tb\nc", "t": True},
    }
    data = parsed(text).data
    tries: list[list[Any]] = [[Put(path=("instances", "z"), value=new)]]
    if data.get("instances"):
        tries += [
            [Put(path=("instances", "a", "properties", "p"), value=1)],
            [
                Put(path=("instances", "a", "properties", "p"), value="x"),
                Put(path=("instances", "y"), value=new),
            ],
            [Drop(path=("instances", "b"))],
            [
                Put(path=("instances", "b", "node"), value="n1"),
                Put(path=("instances", "b", "properties"), value={}),
            ],
            [Put(path=("instances", "b"), value=new)],
            [Drop(path=("instances", "b")), Drop(path=("instances", "a"))],
            [Drop(path=("instances",)), Put(path=("instances", "z"), value=new)],
        ]
    for edits in tries:
        after = edit_text(text, edits)
        assert parsed(after).data == edited(data, edits)
        went, _ = changed_lines(text, after)
        kept = [
            line for line in text.splitlines() if line.startswith(("format", "domain", "nodes", "configs"))
        ]
        assert not set(kept) & {line.rstrip("\n") for line in went} or not text.endswith("\n")


COMMENTED = """\
nodes:
  n1: {host: a}  # the first
  # n0 was retired

  # a rack that is to come:
  #   n9: {host: z}
#  n8: {host: y}

# What runs, and where.
configs:
  c:
    start: exec serve
    properties:
      p: 1
      # p.more: 2
    # stop: exec quit

  # no other yet

# Instances of the first shop.
instances:
  # NAME: {node: NODE, config: CONFIG}
clusters: {
  web: {config: c},  # all
  jobs: {config: c}  # nights
  # more are planned
}

# The end.
"""
N2, NEW = Put(path=("nodes", "n2"), value={"host": "b"}), Put(path=("configs", "c", "stop"), value="exit")
PLACES = [
    (
        "behind the entry's comments, before the next section's",
        [N2],
        "  #   n9: {host: z}\n",
        "  n2: {host: b}\n",
    ),
    ("behind an inner comment, before an outer one", [NEW], "    # stop: exec quit\n", "    stop: exit\n"),
    (
        "in the innermost",
        [Put(path=("configs", "c", "properties", "q"), value=2)],
        "      # p.more: 2\n",
        "      q: 2\n",
    ),
    (
        "behind what is noted of the section",
        [Put(path=("configs", "d"), value={"start": "x"})],
        "  # no other yet\n",
        "  d:\n    start: x\n",
    ),
    (
        "below the words under an empty section's name",
        [Put(path=("instances", "i"), value={"node": "n1", "config": "c"})],
        "  # NAME: {node: NODE, config: CONFIG}\n",
        "  i: {node: n1, config: c}\n",
    ),
    (
        "a new section at the end",
        [Put(path=("applications", "hello"), value={"targets": ["web"]})],
        "# The end.\n",
        "applications: {hello: {targets: [web]}}\n",
    ),
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("edits", "behind", "came"), [p[1:] for p in PLACES], ids=[p[0] for p in PLACES])
def test_comments_stay_with_what_they_are_about(edits: Any, behind: str, came: str, newline: str) -> None:
    text = COMMENTED.replace("\n", newline)
    after = edit_text(text, edits)
    assert after.replace("\r\n", "\n") == COMMENTED.replace(behind, behind + came)
    assert after.count("\r") == after.count("\n") * (newline == "\r\n")
    assert edit_text(after, [Drop(path=edits[0].path)]) == text or edits[0].path[0] in (
        "instances",
        "applications",
    )


def test_a_flow_mapping_of_lines_keeps_its_comments_at_their_lines() -> None:
    after = edit_text(COMMENTED, [Put(path=("clusters", "api"), value={"config": "c"})])
    assert after == COMMENTED.replace(
        "{config: c}  # nights\n  # more are planned\n",
        "{config: c},  # nights\n  # more are planned\n  api: {config: c}\n",
    )
    comma = COMMENTED.replace("{config: c}  # nights", "{config: c},  # nights")
    assert edit_text(comma, [Put(path=("clusters", "api"), value={"config": "c"})]) == comma.replace(
        "  # more are planned\n", "  # more are planned\n  api: {config: c},\n"
    )


def test_comments_inside_of_an_entry_go_with_it_and_others_stay() -> None:
    after = edit_text(COMMENTED, [Drop(path=("configs", "c")), Drop(path=("nodes", "n1"))])
    gone = (
        "  c:\n    start: exec serve\n    properties:\n      p: 1\n      # p.more: 2\n    # stop: exec quit\n"
    )
    assert after == (
        COMMENTED.replace(gone, "")
        .replace("  n1: {host: a}  # the first\n", "")
        .replace("nodes:", "nodes: {}")
        .replace("configs:", "configs: {}")
    )


def test_an_entry_that_others_refer_to_is_not_removed(store_of: Callable[..., Any]) -> None:
    text = SHOP.replace("web1: {", "web1: &w {").replace("{node: n2,   cluster: 'web'}", "*w")
    store = store_of(text)
    with pytest.raises(OperationFailed, match="anchor"):
        store.edit([Drop(path=("instances", "web1"))])
    assert text_of(store) == text


def test_an_edit_that_makes_the_domain_invalid_changes_nothing(store_of: Callable[..., Any]) -> None:
    store = store_of(SHOP)
    with pytest.raises(InvalidDomain, match="instances/web3/node: no node named 'n7'"):
        store.edit([Put(path=("instances", "web3"), value={"node": "n7", "cluster": "web"})])
    with pytest.raises(InvalidDomain, match="nothing is changed"):
        store.edit([Drop(path=("clusters", "web"))])
    with pytest.raises(OperationFailed):
        store.edit([Drop(path=("instances", "web9"))])
    assert text_of(store) == SHOP


@pytest.mark.parametrize("length", [127, 250, 255])
def test_the_longest_names_are_keys_like_others(store_of: Callable[..., Any], length: int) -> None:
    """Of 128 characters and more the writer would make `? KEY`, which is no entry beside others."""
    store, name = store_of(SHOP), "n" * length
    value = {"node": "n1", "cluster": "web", "properties": {"http.port": 9000}}
    store.edit([Put(path=("instances", name), value=value)])
    assert changed_lines(SHOP, text_of(store)) == (
        [],
        [f"  {name}: {{node: n1, cluster: web, properties: {{http.port: 9000}}}}\n"],
    )
    store.edit([Drop(path=("instances", name))])
    assert text_of(store) == SHOP


def test_what_is_written_is_told_without_defaults_and_with_its_lines(store_of: Callable[..., Any]) -> None:
    store = store_of(SHOP)
    written = store.written()
    assert written.data == parsed(SHOP).data
    lines = SHOP.splitlines()
    assert "shop" in lines[written.line(("domain", "name")) - 1]
    assert lines[written.line(("nodes", "n1", "nowhere")) - 1].lstrip().startswith("n1:")


def test_an_edit_can_be_taken_back(store_of: Callable[..., Any]) -> None:
    store = store_of(SHOP)
    with store.undoable() as undo:
        store.edit([Put(path=("nodes", "n2", "port"), value=23)])
        assert "port: 23" in text_of(store)
        undo()
    assert text_of(store) == SHOP
    with store.undoable():
        store.edit([Put(path=("nodes", "n2", "port"), value=23)])
    assert "port: 23" in text_of(store)


def test_taking_an_edit_back_leaves_nothing_and_keeps_file_and_link(tmp_path: Path) -> None:
    store = on_disk(SHOP, tmp_path)
    (tmp_path / ".dasctl").mkdir()
    real = tmp_path / "elsewhere.yaml"
    store.path.rename(real)
    store.path.symlink_to("../elsewhere.yaml")
    before, folder = real.stat(), tmp_path.stat().st_mtime_ns
    with store.undoable() as undo:
        store.edit([Put(path=("nodes", "n2", "port"), value=23)])
        undo()
    after = real.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert tmp_path.stat().st_mtime_ns == folder
    assert store.path.is_symlink()
    assert [path.name for path in (tmp_path / ".dasctl").iterdir()] == []


def test_many_edits_at_once_are_those_that_they_are_one_by_one() -> None:
    """Which of them fit together is decided anew for each text; a thousand take no minute."""
    names = [f"web{number}" for number in range(400)]
    text = "format: 1\ninstances:\n" + "".join(
        f"  {name}: {{node: n1}}  # {name}\n" if number % 3 else f"  {name}:\n    node: n1\n"
        for number, name in enumerate(names)
    )
    edits: list[Put | Drop] = [
        Put(path=("instances", name, *path), value=number)
        for number, name in enumerate(names)
        for path in (("node",), ("properties", "x"), ("properties", "z"))
    ]
    edits += [Drop(path=("instances", name)) for name in names[::7]]
    began = time.monotonic()
    together = edit_text(text, edits)
    assert time.monotonic() - began < 30
    one_by_one = text
    for edit in edits[:30]:
        one_by_one = edit_text(one_by_one, [edit])
    assert edit_text(text, edits[:30]) == one_by_one
    assert parsed(together).data == edited(parsed(text).data, edits)
    assert "  web2: {node: 2, properties: {x: 2, z: 2}}  # web2\n" in together


def test_adding_and_removing_gives_the_same_bytes(store_of: Callable[..., Any]) -> None:
    text = SHOP.split("instances:")[0] + "instances: {}  # none yet\n# end\n"
    store = store_of(text)
    store.edit([Put(path=("instances", "web3"), value=WEB3)])
    assert (
        "instances:  # none yet\n  web3: {node: n1, cluster: web, properties: {http.port: 8081}}\n# end\n"
        in text_of(store)
    )
    store.edit([Drop(path=("instances", "web3"))])
    assert text_of(store) == text


def test_the_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    store = on_disk(SHOP, tmp_path)
    real = tmp_path / "elsewhere.yaml"
    store.path.rename(real)
    real.chmod(0o640)
    store.path.symlink_to("../elsewhere.yaml")
    store.edit([Put(path=("nodes", "n2", "port"), value=23)])
    assert store.path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "port: 23" in real.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "elsewhere.yaml"]


def test_a_byte_order_mark_survives(store_of: Callable[..., Any]) -> None:
    store = store_of("\ufeff" + SHOP)
    store.edit([Put(path=("nodes", "n2", "port"), value=23)])
    assert text_of(store) == "\ufeff" + SHOP.replace("2222", "23")


class _Shapes:
    """Documents in every notation, from a source of chance."""

    VALUES = ("x", 1, True, "no", "it's", 'q"q', "ü", "# c", "a: b", "- x", "", "1.10", 1.5, "multi\nline", "*a", "%p",
              "{x}", "[y", "~", "<<", "1e3", "\u2028", "\x7f", "x:", "? a", "2024-01-01", [], ["a", "x, y"])  # fmt: skip

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def mapping(self, depth: int) -> dict[str, Any]:
        names = self.chance.sample(["a", "b.port", "c-x", "d", "e"], self.chance.randint(0, 4))
        return {
            n: self.mapping(depth - 1) if depth and self.chance.random() < 0.6 else self.value()
            for n in names
        }

    def value(self) -> Any:
        return self.chance.choice(self.VALUES)

    def flow(self, value: Any) -> str:
        if not isinstance(value, dict):
            return json.dumps(value).replace("\x7f", "\\x7f")
        comma = self.chance.choice(["", ","]) if value else ""
        return "{" + ", ".join(f"{key}: {self.flow(item)}" for key, item in value.items()) + comma + "}"

    def block(self, value: dict[str, Any], indent: str = "") -> list[str]:
        lines = []
        for key, item in value.items():
            lines += self.chance.choice([[], [], [indent + "# note"], [""]])
            comment = self.chance.choice(["", "", "  # c 'x"])
            inner = indent + self.chance.choice([" ", "  ", "    "])
            if isinstance(item, dict) and item and self.chance.random() < 0.6:
                lines += [f"{indent}{key}:{comment}", *self.block(item, inner)]
            elif isinstance(item, dict) and item and self.chance.random() < 0.5:
                entries = [f"{inner}{k}: {self.flow(v)},{comment}" for k, v in item.items()]
                lines += [f"{indent}{key}: {{", *entries, indent + " }"]
            else:
                lines.append(f"{indent}{key}: {self.flow(item)}{comment}")
        return lines

    def edit(self, data: dict[str, Any]) -> Put | Drop:
        path: tuple[str, ...] = (self.chance.choice(list(data)),)
        place = data[path[0]]
        while isinstance(place, dict) and place and self.chance.random() < 0.7:
            path = (*path, self.chance.choice(list(place)))
            place = place[path[-1]]
        match self.chance.randint(0, 2):
            case 0:
                return Drop(path=path)
            case 1:
                return Put(path=path, value=self.chance.choice([self.value(), self.mapping(1)]))
            case _:
                return Put(
                    path=(*path[:-1], "new"), value=self.chance.choice([self.value(), self.mapping(2)])
                )


@pytest.mark.parametrize("seed", range(300))
def test_any_edit_of_any_text(seed: int) -> None:
    shapes = _Shapes(random.Random(seed))
    data = {"format": 1, "kept": 1, **shapes.mapping(3)}
    newline = shapes.chance.choice(["\n", "\r\n"])
    text = newline.join([*shapes.block(data), *shapes.chance.choice([[], ["# end"], ["", "# end", ""]])])
    assert parsed(text).data == data
    edit = shapes.edit(data)
    after = edit_text(text, [edit])
    assert parsed(after).data == edited(data, [edit])
    if isinstance(edit, Put) and edit.path[-1] == "new":
        comments = [[x for x in t.splitlines() if x.strip()[:1] in ("", "#")] for t in (text, after)]
        assert comments[0] == comments[1]


# The lock.


def test_the_lock_is_held_by_one(store_of: Callable[..., Any], tmp_path: Path) -> None:
    store = store_of(SHOP)
    with store.domain_locked("sync-cluster web", wait_s=0):
        with pytest.raises(DomainLocked) as caught:
            with store.domain_locked("deploy", wait_s=0):
                raise AssertionError("held twice")
        assert f"the domain {tmp_path} is locked by 'sync-cluster web' (" in caught.value.message
        assert f"pid {os.getpid()}, since " in caught.value.message
    with store.domain_locked("deploy", wait_s=0):
        pass


def test_waiting_for_the_lock_ends(store_of: Callable[..., Any]) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        assert seconds > 0
        clock[0] += seconds

    store = store_of(SHOP, sleep=sleep, monotonic=lambda: clock[0])
    with store.domain_locked("a", wait_s=0):
        with pytest.raises(DomainLocked):
            with store.domain_locked("b", wait_s=3):
                pass
    assert clock[0] == pytest.approx(3)


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    store = on_disk(SHOP, tmp_path)
    program = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from dasctl.adapters.store import YamlStore
        with YamlStore(Path({str(tmp_path)!r})).domain_locked("long", wait_s=0):
            print("held", flush=True)
            time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DomainLocked, match=rf"'long' .*pid {other.pid}"):
            with store.domain_locked("mine", wait_s=0):
                pass
        other.kill()
    assert json.loads((tmp_path / ".dasctl/lock").read_bytes())["command"] == "long"
    with store.domain_locked("mine", wait_s=0):
        assert json.loads((tmp_path / ".dasctl/lock").read_bytes())["command"] == "mine"
    assert (tmp_path / ".dasctl").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".dasctl/lock").stat().st_mode & 0o777 == 0o600


# Finding and making.


def test_finding_a_domain(tmp_path: Path) -> None:
    on_disk(SHOP, tmp_path)
    deep = tmp_path / "docroot" / "images"
    deep.mkdir(parents=True)
    assert find_domain(deep, None, {}) == tmp_path
    assert find_domain(Path("/"), tmp_path, {}) == tmp_path
    assert find_domain(Path("/"), None, {"DASCTL_DOMAIN": str(tmp_path)}) == tmp_path
    with pytest.raises(DomainNotFound, match="--domain"):
        find_domain(tmp_path, deep, {})
    with pytest.raises(DomainNotFound, match="DASCTL_DOMAIN"):
        find_domain(tmp_path, None, {"DASCTL_DOMAIN": str(deep)})
    with pytest.raises(DomainNotFound) as caught:
        find_domain(Path("/"), None, {})
    assert "create-domain" in caught.value.hint


@pytest.mark.parametrize("sample", [False, True])
def test_a_new_domain_is_valid(tmp_path: Path, sample: bool) -> None:
    root = tmp_path / "my-shop"
    root.mkdir()
    (root / "notes.txt").write_text("mine")
    (root / ".gitignore").write_text("*.tmp")
    store = create_domain(root, None, sample=sample, id=ID.replace("7", "8"))
    domain = store.load()
    assert (domain.domain.name, domain.domain.id) == ("my-shop", ID.replace("7", "8"))
    assert bool(domain.nodes) is sample
    assert (root / "notes.txt").read_text() == "mine"
    assert (root / ".gitignore").read_text() == "*.tmp\n.dasctl/\n"
    assert (root / "applications/hello/serve.py").exists() is sample
    with pytest.raises(UsageError, match="is a domain already"):
        create_domain(root, None, sample=sample, id=ID)


def test_entries_go_below_an_empty_section_of_the_template(tmp_path: Path) -> None:
    store = create_domain(tmp_path / "d", None, sample=False, id=ID)
    assert store.load().domain.properties == {}
    before = store.path.read_text()
    store.edit([Put(path=("nodes", "n1"), value={"host": "h"})])
    went, came = changed_lines(before, store.path.read_text())
    assert (went, came) == (["nodes: {}\n"], ["nodes:\n", "  n1: {host: h}\n"])
    store.edit([Drop(path=("nodes", "n1"))])
    assert store.path.read_text() == before


@pytest.mark.parametrize("name", ["domain", "my shop", "-x", "ä"])
def test_a_new_domain_needs_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        create_domain(tmp_path / name, None, sample=False, id=ID)
    assert not (tmp_path / name).exists()

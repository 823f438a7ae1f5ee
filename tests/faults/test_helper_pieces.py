"""The helper in pieces: what is sent when, what was guessed wrongly is asked for, and pieces are what the sources say."""

from __future__ import annotations

import ast
import asyncio
import glob
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters import bootstrap, helper_pack
from dasctl.adapters.helper_pack import CODE, FIRST, REST, WORK, HelperPack, Shipment
from dasctl.adapters.helper_source import imported, small_code, small_source
from dasctl.adapters.helpers import Helpers
from dasctl.adapters.local import LocalLinks
from dasctl.core.domain import Node
from dasctl.errors import LinkLost

OTHERS = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python")))
SOURCES = {module.name: module.source.decode() for module in bootstrap.helper_modules(compiled=False)}


@pytest.fixture(scope="module")
def pack() -> HelperPack:
    return helper_pack.helper_pack()


def asked(
    shipment: Shipment, headers: Iterable[dict[str, Any]], *, python: str = sys.executable
) -> tuple[list[Any], int]:
    """The replies, and the round trips that they took, to a helper on this machine."""

    async def conversation() -> tuple[list[Any], int]:
        async with LocalLinks(payload=shipment, python=python).open("here", Node(host="here")) as link:
            return [(await link.ask(header)).header for header in headers], link.round_trips

    return asyncio.run(asyncio.wait_for(conversation(), 60))


def ping(folder: Path) -> dict[str, Any]:
    return {"op": "ping", "dir": str(folder)}


@pytest.mark.parametrize("magic", [None, bootstrap.magic()], ids=["sources", "code"])
def test_request_is_answered_in_one_trip(pack: HelperPack, magic: str | None, tmp_path: Path) -> None:
    replies, trips = asked(Shipment(pack, magic), [ping(tmp_path), ping(tmp_path)])
    assert [reply["reply"] for reply in replies] == ["ping", "ping"]
    assert trips == 2


@pytest.mark.parametrize("python", OTHERS or [sys.executable])
def test_another_python_than_believed_costs_one_trip(pack: HelperPack, python: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [python, "-c", "import sys, importlib.util as u; print(sys.version_info >= (3, 9), u.MAGIC_NUMBER.hex())"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    if told[0] == "False":
        return
    replies, trips = asked(Shipment(pack, bootstrap.magic()), [ping(tmp_path), ping(tmp_path)], python=python)
    assert [reply["reply"] for reply in replies] == ["ping", "ping"]
    assert trips == (2 if bootstrap.magic().startswith(told[1]) else 3)


def test_modules_that_were_not_foreseen_are_asked_for(pack: HelperPack, tmp_path: Path) -> None:
    pieces = {form: {**of_form, "ping": pack.of(form, ())} for form, of_form in pack._pieces.items()}
    short = HelperPack(pieces, pack._modules)
    replies, trips = asked(Shipment(short, bootstrap.magic()), [ping(tmp_path), ping(tmp_path)])
    assert [reply["reply"] for reply in replies] == ["ping", "ping"]
    assert trips == 3


def test_module_that_never_comes_is_named(pack: HelperPack, tmp_path: Path) -> None:
    class Deaf(Shipment):
        def answer(self, wanted: object) -> bytes:
            return b'{"modules":[]}\n'

        def ahead_of(self, header: object) -> bytes:
            return b""

    with pytest.raises(LinkLost, match=r"no module dasctl\.remote\.ping"):
        asked(Deaf(pack, bootstrap.magic()), [ping(tmp_path)])


def test_everything_is_sent_once(pack: HelperPack) -> None:
    shipment = Shipment(pack, bootstrap.magic())
    shipment.opening()
    assert shipment.ahead_of({"op": "sync"})
    assert shipment.ahead_of({"op": "sync"}) == b""
    work = shipment.ahead_of({"op": "sync", "blobs": [1]})
    assert json.loads(work.split(b"\n")[0])["modules"]
    assert shipment.ahead_of({"op": "contents"}) == b""


def test_each_request_has_the_modules_that_it_imports(pack: HelperPack) -> None:
    """Followed through every import, early and late; what belongs to other requests is what `main` imports late."""
    of_form = pack._pieces[CODE]
    first = of_form[FIRST].names
    changing = of_form[WORK].names | of_form[REST].names
    for request in set(helper_pack.ROOTS) - {FIRST}:
        sent = (
            first
            | of_form[request].names
            | (changing if request in ("sync", "contents", "commit") else set())
        )
        for name in sent - {"dasctl.remote.main"}:
            assert imported(SOURCES[name], "dasctl.remote") & {*SOURCES} <= sent, (request, name)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_small_source_is_the_same_program_on_the_same_lines(name: str) -> None:
    small = small_source(SOURCES[name])
    assert _essence(small) == _essence(SOURCES[name])
    assert len(small) < len(SOURCES[name])


def test_small_code_has_tracebacks() -> None:
    code = small_code("def f():\n\n raise RuntimeError('boom')\n\n\ndef g():\n f()\n", "dasctl/remote/x.py")
    found: dict[str, Any] = {}
    exec(code, found)
    try:
        found["g"]()
    except RuntimeError:
        told = traceback.format_exc()
    assert 'File "dasctl/remote/x.py", line 6, in g' in told
    assert 'File "dasctl/remote/x.py", line 1, in f' in told


def _essence(source: str) -> list[tuple[int, str]]:
    """Every statement with its line, without docstrings, annotations, and what is for type checkers."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Expr(ast.Constant(0), lineno=node.body[0].lineno)
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(getattr(node, "body", None), list):
            node.body = [_unannotated(statement) for statement in node.body]  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Expr(ast.Constant(0), lineno=node.body[0].lineno)]
    if ast.get_docstring(ast.parse(source)) is not None:
        tree.body = tree.body[1:]
    return [(node.lineno, ast.dump(node)) for node in ast.walk(tree) if isinstance(node, ast.stmt)]


def _unannotated(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return ast.Assign([node.target], node.value, lineno=node.lineno)
    if isinstance(node, ast.AnnAssign) or (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
        return ast.Expr(ast.Constant(0), lineno=node.lineno)
    return node


def test_cache_is_used_and_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    cache = tmp_path / "helper"
    made = helper_pack.helper_pack(cache)._pieces
    good = cache.read_bytes()
    assert helper_pack.helper_pack(cache)._pieces == made
    for at in (0, 40, len(good) // 2, len(good) - 1):
        cache.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert helper_pack.helper_pack(cache)._pieces == made
        assert cache.read_bytes() == good
    cache.write_bytes(good[: len(good) // 2])
    assert helper_pack.helper_pack(cache)._pieces == made


def test_domains_of_a_user_share_a_pack(tmp_path: Path) -> None:
    shared = tmp_path / "cache" / "dasctl" / "helper"
    made = helper_pack.helper_pack(tmp_path / "first", shared)._pieces
    assert shared.read_bytes() == (tmp_path / "first").read_bytes()
    assert shared.parent.stat().st_mode & 0o777 == 0o700
    assert helper_pack.helper_pack(tmp_path / "second", shared)._pieces == made
    assert not (tmp_path / "second").exists()  # it was read, not made
    for mode in (0o620, 0o602):
        shared.chmod(mode)  # somebody else could have written what is run
        assert helper_pack.helper_pack(tmp_path / f"third {mode}", shared)._pieces == made
        assert (tmp_path / f"third {mode}").exists()


def test_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    assert helper_pack.helper_pack(tmp_path / "nowhere" / "helper")._pieces


def test_complete_sources_are_sent_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(helper_pack.VARIABLE, "sources")
    whole = helper_pack.helper_pack(tmp_path / "helper")
    replies, _ = asked(Shipment(whole, bootstrap.magic()), [ping(tmp_path)])
    assert replies[0]["reply"] == "ping"
    assert not (tmp_path / "helper").exists()
    assert len(whole.piece(CODE, FIRST, frozenset()).data) > 15_000


def test_what_nodes_run_is_remembered(tmp_path: Path) -> None:
    class Spoken:
        has_spoken = True
        greeting: dict[str, Any] = {"magic": bootstrap.magic()}  # noqa: RUF012

    first = Helpers(tmp_path)
    unknown = len(first.shipment("n1").opening())
    first.heard("n1", Spoken())  # type: ignore[arg-type]
    first.keep()
    assert json.loads((tmp_path / "nodes.json").read_bytes()) == {"n1": bootstrap.magic()}
    assert len(Helpers(tmp_path).shipment("n1").opening()) != unknown
    for damaged in (b"[", b"[1]", b'{"n1": 3}', b"\xff"):
        (tmp_path / "nodes.json").write_bytes(damaged)
        assert len(Helpers(tmp_path).shipment("n1").opening()) == unknown


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_module_imports_what_annotations_alone_need(name: str) -> None:
    """It would take the node 0.2 ms; and an annotation that cannot go with the line's value is written on one line."""
    assert "__future__" not in small_source(SOURCES[name])


def test_an_annotation_on_several_lines_stays_and_is_not_evaluated() -> None:
    source = "from __future__ import annotations\nx: dict[\n    Nowhere, int\n] = {}\n"
    exec(compile(small_source(source), "x", "exec"), {})


async def test_others_go_on_while_a_helper_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins have time limits, and share the event loop with whoever is the first to need the helper."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    helpers = Helpers(tmp_path)
    several = asyncio.gather(*(helpers.ready() for _ in range(3)))
    turns = 0
    while not several.done():
        turns += 1
        await asyncio.sleep(0.001)
    await several
    assert turns > 10
    known = helpers.shipment("n1").opening()
    assert (tmp_path / "helper").exists()
    again = Helpers(tmp_path)
    await again.ready()
    assert again.shipment("n1").opening() == known


def test_each_event_loop_makes_a_helper_that_an_earlier_one_broke_off(tmp_path: Path) -> None:
    helpers = Helpers(tmp_path / "nowhere")  # where nothing can be kept

    async def broken_off() -> None:
        ready = asyncio.ensure_future(helpers.ready())
        await asyncio.sleep(0)
        ready.cancel()
        await asyncio.gather(ready, return_exceptions=True)

    asyncio.run(broken_off())
    asyncio.run(helpers.ready())
    assert helpers.shipment("n1").opening()

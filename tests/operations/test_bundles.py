"""Bundles: what is exported, carried and imported leads an instance to where a link would have, under the same rules."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dasctl.remote.offline import bundle as bundles
from dasctl.remote.offline import choosing, importing
from tests.scenarios.world import MAIN, World

OLD = Path("~/.pyenv/versions/3.9.18/bin/python").expanduser()
PYTHONS = [sys.executable, *([str(OLD)] if OLD.exists() else [])]
ODD = b"docroot/odd \xff\n\x1b name"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(base=tmp_path)
    repository = made.das.repository
    repository.put_file(b"docroot/index.html", b"one\n")
    repository.put_file(b"docroot/empty", b"")
    repository.put_file(ODD, b"odd")
    repository.put_file(b"applications/hello/run.sh", b"#!/bin/sh\n", mode=0o755)
    repository.put_link(b"docroot/link", b"index.html")
    repository.put_file(b"lib/large", random.Random(1).randbytes(3_000_000))
    return made


def export(world: World, target: str, *options: str) -> Path:
    file = world.base / f"{target.replace(':', '-')}{''.join(options)}.bundle"
    code, shown = world.run(" ".join(["export-sync-bundle", target, str(file), *options]))
    assert code == 0, shown
    assert f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}" in shown
    return file


@pytest.mark.parametrize("words", ["web1 web2", "web1 web", "web node:n1"])
def test_a_target_in_the_place_of_the_file_is_a_forgotten_file(world: World, words: str) -> None:
    code, shown = world.run(f"export-sync-bundle {words}")
    last = words.split()[-1]
    assert code == 2
    assert f"{last} is a target, and the file to write is missing" in shown
    assert not Path(last).exists()


def run(file: Path, *arguments: str, python: str = sys.executable) -> tuple[int, dict[str, Any]]:
    """`python3 FILE` on a node without dasctl: nothing of this one's environment, in an empty folder."""
    empty = file.parent / "empty"
    empty.mkdir(exist_ok=True)
    ran = subprocess.run(
        [python, "-X", "utf8", str(file), "--json", *arguments], cwd=empty, env={"HOME": str(empty), "PATH": "/bin"},
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def tree(folder: Path) -> dict[bytes, Any]:
    """All that synchronisation owns: mode, modtime and content by path."""
    found: dict[bytes, Any] = {}
    for area in (b"config", b"applications", b"lib", b"docroot"):
        for path, folders, files in os.walk(os.path.join(os.fsencode(folder), area)):
            for name in [b".", *folders, *files]:
                full = os.path.join(path, name)
                status = os.lstat(full)
                content = b"" if os.path.isdir(full) else os.readlink(full) if os.path.islink(full) else b""
                if os.path.isfile(full) and not os.path.islink(full):
                    with open(full, "rb") as file:
                        content = file.read()
                key = os.path.normpath(os.path.relpath(full, os.fsencode(folder)))
                found[key] = (status.st_mode, status.st_mtime_ns, content)
    return found


def linked(world: World, instance: str) -> dict[bytes, Any]:
    """What a synchronisation over a link makes of an instance."""
    code, shown = world.run(f"sync-instance {instance}")
    assert code == 0, shown
    return tree(world.instance(instance))


@pytest.mark.parametrize("python", PYTHONS)
def test_a_node_without_dasctl_gets_what_a_link_would_have_brought(world: World, python: str) -> None:
    file = export(world, "web1")
    code, document = run(file, python=python)
    assert (code, document["status"]) == (0, "ok")
    assert [(row["instance"], row["status"], row["revision"]) for row in document["results"]] == [
        ("web1", "synchronised", 1)
    ]
    imported = tree(world.instance("web1"))
    assert imported[ODD][2] == b"odd"
    shutil.rmtree(world.instance("web1"))
    assert linked(world, "web1") == imported


def test_the_das_recognises_the_place_afterwards(world: World) -> None:
    run(export(world, "web1"))
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    shown = world.transcript("sync-instance web1 --json")
    (row,) = json.loads(shown)["results"]
    assert (row["status"], row["files_changed"], row["deviations"]) == ("synchronised", 1, [])


def test_once_more_is_nothing_to_do(world: World) -> None:
    file = export(world, "web1")
    run(file)
    before = tree(world.instance("web1"))
    code, document = run(file)
    assert (code, document["status"], tree(world.instance("web1"))) == (0, "unchanged", before)


def test_a_dry_run_of_an_import_changes_nothing(world: World) -> None:
    code, document = run(export(world, "web1"), "--dry-run")
    assert (code, document["dry_run"]) == (0, True)
    assert {"path": "docroot/index.html", "why": "new"} in document["results"][0]["changes"]
    assert not world.instance("web1").exists()


def test_a_dry_run_in_words_says_what_would_be(world: World) -> None:
    file = export(world, "web1")
    run(file)
    said = [sys.executable, "-I", str(file), "--dry-run"]
    nothing = subprocess.run(said, capture_output=True, text=True, timeout=120, check=True)
    assert nothing.stdout.splitlines()[0] == "web1  dry run  nothing would change"
    (world.instance("web1") / "docroot/empty").unlink()
    would = subprocess.run(said, capture_output=True, text=True, timeout=120, check=True)
    assert "web1: docroot/empty is missing: would be restored" in would.stdout.splitlines()
    assert not (world.instance("web1") / "docroot/empty").exists()


def test_standard_tools_open_it(world: World) -> None:
    file = export(world, "web")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("MANIFEST.json"))
        for digest in manifest["contents"]:
            assert hashlib.sha256(archive.read(f"contents/{digest}")).hexdigest() == digest
        for name, (digest, _size) in manifest["members"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
        promised = {*manifest["members"], *(f"contents/{digest}" for digest in manifest["contents"])}
        assert set(archive.namelist()) == promised | {"MANIFEST.json"}
        assert len(archive.namelist()) == len(set(archive.namelist()))


def test_the_same_state_makes_the_same_file(world: World) -> None:
    assert export(world, "web1").read_bytes() == export(world, "web1").read_bytes()


def test_only_what_changed_since(world: World) -> None:
    run(export(world, "web1"))
    repository = world.das.repository
    repository.put_file(b"docroot/index.html", b"two\n")
    repository.put_file(b"lib/copy", b"".join(repository.read(b"lib/large", piece=1 << 20)))
    repository.remove(b"docroot/empty")
    file = export(world, "web1", "--since", "1")
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("MANIFEST.json"))["contents"] == {
            hashlib.sha256(b"two\n").hexdigest(): 4
        }
    code, document = run(file)
    assert (code, document["results"][0]["status"]) == (0, "synchronised")
    imported = tree(world.instance("web1"))
    shutil.rmtree(world.instance("web1"))
    assert linked(world, "web1") == imported
    assert run(file)[1]["status"] == "unchanged"


def test_what_the_node_has_of_the_lists_is_left_out(world: World) -> None:
    run(export(world, "web1"))
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    with zipfile.ZipFile(export(world, "web1", "--since", "1")) as archive:
        parts = json.loads(archive.read("MANIFEST.json"))["parts"]
        kinds = sorted(
            (part["base"] is not None, archive.read(f"parts/{digest}")[:1]) for digest, part in parts.items()
        )
    assert kinds == [
        (False, b"d"),
        (True, b"+"),
    ]  # config as a whole, docroot as changes; lib and hello not at all


def test_changes_fit_instances_that_had_different_things(world: World) -> None:
    """A list of files that two instances need, and of which one had nothing before, goes whole."""
    linked(world, "web1")
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    store = world.das.store
    store.write((store.text or "").replace("hello: {targets: [web]}", "hello: {targets: [web, jobs]}"))
    linked(world, "web2")
    world.das.repository.put_file(b"applications/hello/more", b"more\n")
    assert world.run("sync-instance jobs1")[0] == 0
    file = export(world, "domain", "--since", "1")
    assert run(file, "--instance", "web1")[1]["results"][0]["status"] == "synchronised"
    assert tree(world.instance("web1")) == linked(world, "web1")


def test_changes_fit_one_place_alone(world: World) -> None:
    run(export(world, "web1"))
    first = tree(world.instance("web1"))
    for text in (b"two\n", b"three\n"):
        world.das.repository.put_file(b"docroot/index.html", text)
        export(world, "web2")  # records a revision
    code, document = run(export(world, "web1", "--since", "2"))
    error = document["results"][0]["error"]
    assert (code, document["results"][0]["status"]) == (6, "refused")
    assert "stands at revision 1 " in error["message"]
    assert "leads from revision 2 to 3" in error["message"]
    assert error["hint"] == "export one from there: export-sync-bundle web1 FILE --since 1"
    assert tree(world.instance("web1")) == first
    code, document = run(export(world, "web2", "--since", "2"), "--instance", "web2")
    assert (code, document["results"][0]["error"]["hint"]) == (6, "export a bundle without --since")


def test_since_with_another_domain_yaml_holds_all(world: World) -> None:
    run(export(world, "web1"))
    store = world.das.store
    store.write((store.text or "").replace("http.port: 8080", "http.port: 9090"))
    file = world.base / "b"
    code, shown = world.run(f"export-sync-bundle web1 {file} --since 1")
    assert code == 0
    assert "config/domain.yaml has changed since revision 1" in shown
    assert run(file)[0] == 0
    assert b"9090" in tree(world.instance("web1"))[b"config/domain.yaml"][2]


def test_what_an_instance_confirmed_is_known_whatever_domain_yaml_was(world: World) -> None:
    linked(world, "web1")
    store = world.das.store
    store.write((store.text or "").replace("http.port: 8080", "http.port: 9090"))
    with zipfile.ZipFile(export(world, "web1", "--since", "1")) as archive:
        (size,) = json.loads(archive.read("MANIFEST.json"))["contents"].values()
    assert size < 1000  # its own part of domain.yaml
    assert run(world.base / "web1--since1.bundle")[1]["results"][0]["files_changed"] == 1


def test_revisions_that_are_not_there(world: World) -> None:
    export(world, "web1")
    assert "the domain has no revision 7" in world.transcript(
        f"export-sync-bundle web1 {world.base}/b --since 7"
    )
    assert not (world.base / "b").exists()


def test_an_older_bundle_is_refused(world: World) -> None:
    old = export(world, "web1").rename(world.base / "old")
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    linked(world, "web1")
    code, document = run(old)
    assert code == 6
    assert "web1 stands at revision 2 " in document["results"][0]["error"]["message"]
    assert "newer than this bundle's revision 1" in document["results"][0]["error"]["message"]


def test_a_bundle_leads_on_from_any_older_revision(world: World) -> None:
    run(export(world, "web1"))
    for text in (b"two\n", b"three\n"):
        world.das.repository.put_file(b"docroot/index.html", text)
        export(world, "web2")
    code, document = run(export(world, "web1"))
    assert (code, document["results"][0]["revision"]) == (0, 3)


def test_a_copy_that_does_not_know_the_place_is_refused(world: World) -> None:
    world.context("x")
    world.copies["copy"] = world.das.copied("copy")
    linked(world, "web1")
    other = world.base / "copy.bundle"
    world.copies["copy"].repository.put_file(b"docroot/index.html", b"theirs\n")
    assert world.run(f"export-sync-bundle web1 {other}", das="copy")[0] == 0
    code, document = run(other)
    assert code == 6
    assert "which the domain of this bundle does not know" in document["results"][0]["error"]["message"]


def test_a_fenced_das_and_another_domain_are_refused(world: World) -> None:
    world.copies["old"] = world.das.copied("old")
    world.das.history.raise_epoch(5)
    linked(world, "web1")
    old = world.base / "old.bundle"
    assert world.run(f"export-sync-bundle web1 {old}", das="old")[0] == 0
    code, document = run(old)
    assert code == 6
    assert "another DAS took over" in document["results"][0]["error"]["hint"]

    other = world.copies["old"]
    other.store.write((other.store.text or "").replace("11111111-", "99999999-"))
    assert world.run(f"export-sync-bundle web1 {old}", das="old")[0] == 0
    code, document = run(old)
    assert code == 6
    assert "this bundle is for the domain shop" in document["results"][0]["error"]["hint"]
    assert (world.instance("web1") / "docroot/index.html").read_text() == "one\n"


def test_a_deviation_is_kept_aside(world: World) -> None:
    run(export(world, "web1"))
    page = world.instance("web1") / "docroot/index.html"
    page.write_text("by hand\n")
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    _, document = run(export(world, "web1", "--since", "1"))
    (deviation,) = document["results"][0]["deviations"]
    assert (deviation["path"], deviation["action"]) == ("docroot/index.html", "replaced")
    assert (world.instance("web1") / deviation["aside"]).read_text() == "by hand\n"


def test_what_was_lost_on_the_node_is_not_in_a_bundle_of_changes(world: World) -> None:
    run(export(world, "web1"))
    (world.instance("web1") / "lib/large").unlink()
    before = tree(world.instance("web1"))
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    code, document = run(export(world, "web1", "--since", "1"))
    assert code == 1
    assert "the bundle lacks contents that are not here either" in document["results"][0]["error"]["message"]
    assert tree(world.instance("web1")) == before
    assert run(export(world, "web1"))[0] == 0


def test_damage_is_named_before_anything_is_changed(world: World) -> None:
    file = export(world, "web1")
    digest = hashlib.sha256(b"".join(world.das.repository.read(b"lib/large", piece=1 << 20))).hexdigest()
    with zipfile.ZipFile(file) as archive:
        place = archive.getinfo(f"contents/{digest}").header_offset + 1000
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    code, document = run(file)
    assert code == 1
    assert f"is damaged: contents/{digest}" in document["error"]["message"]
    assert not world.instance("web1").exists()


def test_a_member_that_was_exchanged_is_named(world: World) -> None:
    """Someone with a zip tool: the archive's own checks hold, the manifest's do not."""
    file, forged = export(world, "web1"), world.base / "forged"
    index = hashlib.sha256(b"one\n").hexdigest()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(forged, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, b"two\n" if name == f"contents/{index}" else archive.read(name))
    code, document = run(forged)
    assert (code, document["error"]["message"]) == (1, f"{forged} is damaged: contents/{index}")


@pytest.mark.parametrize("cut", [0, 100, 5000, -1, -30])
def test_a_file_that_is_cut_off(world: World, cut: int) -> None:
    file = export(world, "web1")
    data = file.read_bytes()
    file.write_bytes(data[:cut] if cut else b"")
    with pytest.raises(bundles.BundleError, match="cut off"):
        bundles.Bundle(str(file))


def changed(manifest: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    *above, last = place.split("/")
    holder: Any = manifest
    for name in above:
        holder = holder[int(name) if isinstance(holder, list) else name]
    holder[last] = value
    return manifest


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", 0),
        ("domain", "shop"),
        ("lead/revision", "9"),
        ("lead/digest", "../../etc/passwd"),
        ("instances/0/request/name", "../evil"),
        ("instances/0/request/parts", [["config", "zz"]]),
        ("instances/0/dir", 7),
        ("chain", [["x", "y"]]),
        ("contents", {"../x": 3}),
        ("parts", {"a": {}}),
        ("members", {"x": []}),
        ("since", [1]),
    ],
)
def test_a_manifest_that_does_not_fit(world: World, place: str, value: Any) -> None:
    file, forged = export(world, "web1"), world.base / "forged"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(forged, "w") as copy:
        manifest = changed(json.loads(archive.read("MANIFEST.json")), place, value)
        for name in archive.namelist():
            copy.writestr(name, json.dumps(manifest) if name == "MANIFEST.json" else archive.read(name))
    code, document = run(forged)
    assert code in (1, 2)
    assert document["results"] == []
    assert not world.instance("web1").exists()


def test_a_newer_format_is_refused_by_name(world: World) -> None:
    file, forged = export(world, "web1"), world.base / "forged"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(forged, "w") as copy:
        manifest = json.loads(archive.read("MANIFEST.json"))
        copy.writestr("MANIFEST.json", json.dumps({**manifest, "format": 2}))
    with pytest.raises(bundles.BundleError, match="has format 2, and this knows format 1"):
        bundles.Bundle(str(forged))


def test_each_node_takes_its_own(world: World) -> None:
    file = export(world, "domain")
    code, document = run(file)
    assert code == 2
    assert "web1 (node n1), web2 (node n2), jobs1 (node n3)" in document["error"]["message"]
    assert run(file, "--instance", "web2")[0] == 0
    _, document = run(file)  # by now its folder is there
    assert [row["instance"] for row in document["results"]] == ["web2"]
    assert not world.instance("web1").exists()
    code, document = run(file, "--instance", "web9")
    assert (code, document["error"]["hint"]) == (2, "it has web1, web2, jobs1")


def test_a_folder_that_was_left_behind_is_nobodys(tmp_path: Path) -> None:
    items = [
        {"node": "n2", "dir": str(tmp_path), "request": {"name": "web1"}},
        {"node": "n1", "dir": str(tmp_path), "request": {"name": "web5"}},
    ]
    for name, node in (("web1", "n1"), ("web5", "n1")):
        (tmp_path / name / "config").mkdir(parents=True)
        (tmp_path / name / "config/domain.yaml").write_text(json.dumps({"instance": {"node": node}}))
    meant = choosing.chosen({"instances": items}, None, [])
    assert [item["request"]["name"] for item in meant[str(tmp_path)]] == ["web5"]


def test_another_directory(world: World, tmp_path: Path) -> None:
    assert run(export(world, "web1"), "--nodedir", str(tmp_path / "elsewhere"))[0] == 0
    assert (tmp_path / "elsewhere/web1/docroot/index.html").read_text() == "one\n"


def test_an_installed_dasctl_imports_likewise(world: World) -> None:
    file = export(world, "web")
    words = [sys.executable, "-m", "dasctl", "import-sync-bundle", str(file), "--instance", "web1", "--json"]
    ran = subprocess.run(words, capture_output=True, timeout=120, env={**os.environ, "HOME": str(world.base)})
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["status"], document["results"][0]["status"]) == (0, "ok", "synchronised")
    by_dasctl = tree(world.instance("web1"))
    shutil.rmtree(world.instance("web1"))
    run(file, "--instance", "web1")
    assert tree(world.instance("web1")) == by_dasctl


KILLED = 9
IMPORT = """\
import os, sys
from dasctl.remote.offline import bundle, choosing, importing

left = int(sys.argv[2])

def before(operation):
    global left
    left -= 1
    if left <= 0:
        os._exit(9)

opened = bundle.Bundle(sys.argv[1])
importing.Import(opened, before=before).carry_out(choosing.chosen(opened.manifest, None, []))
"""


def test_an_import_that_was_killed_anywhere_goes_on(world: World) -> None:
    first = export(world, "web1").rename(world.base / "first")
    world.das.repository.put_file(b"docroot/index.html", b"two\n")
    world.das.repository.put_file(b"docroot/more/page", b"page\n")
    world.das.repository.remove(b"docroot/empty")
    second = export(world, "web1")
    run(second)
    wanted = tree(world.instance("web1"))
    program = world.base / "import.py"
    program.write_text(IMPORT)
    kills = 0
    for stop in range(1, 200, 5):
        shutil.rmtree(world.instance("web1"))
        run_here(first)
        words = [sys.executable, str(program), str(second), str(stop)]
        if subprocess.run(words, timeout=120).returncode != KILLED:
            break
        kills += 1
        rows = run_here(second)
        assert [row["status"] for row in rows] in (["synchronised"], ["unchanged"]), (stop, rows)
        assert tree(world.instance("web1")) == wanted, stop
    assert kills > 3


def run_here(file: Path) -> list[dict[str, Any]]:
    _, rows = importing.run(str(file), node_dir=None, names=[])
    return rows


def test_the_copy_of_the_domain_stays_as_it_was_where_the_file_cannot_be_written(world: World) -> None:
    shown = world.transcript(f"export-sync-bundle web1 {world.base}/nowhere/b")
    assert "nowhere/b cannot be written" in shown
    assert "exit 1" in shown
    assert world.copies[MAIN].history.head() is not None

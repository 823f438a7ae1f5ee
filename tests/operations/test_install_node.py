"""`install-node`, `uninstall-node`, `list-nodes --long`: releases on nodes, through the real helper, on memory links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.core.domain import Release
from tests.operations.software import Shop, current, packed


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(base=tmp_path)
    yield shop
    shop.run("stop-cluster app --kill")


def test_the_first_release_becomes_current_and_the_domain_says_so(shop: Shop) -> None:
    before = shop.revision() if (shop.root / ".dasctl/history.db").exists() else 0
    shown = shop.install("1.0")
    assert "n1" in shown
    assert "app-1.0" in shown  # the folder that was left out
    for node in ("n1", "n2"):
        assert current(shop, node) == "releases/1.0"
        assert os.access(shop.software(node) / "current/bin/server", os.X_OK)
    assert not shop.software("n3").exists()
    domain = shop.domain()
    assert [domain.nodes[node].software for node in ("n1", "n2", "n3")] == ["1.0", "1.0", None]
    assert domain.releases["1.0"].archive == "app-1.0.tar.gz"
    assert sorted(os.listdir(shop.root / ".dasctl/releases/1.0")) == ["app-1.0.tar.gz", "manifest"]
    assert shop.revision() == before + 2  # as it was first seen, and one for the installation
    again = shop.good(f"install-node n1 n2 --archive {shop.base}/app-1.0.tar.gz --version 1.0")
    assert "nothing to do" in again or "unchanged" in again, again
    assert shop.revision() == before + 2


def test_it_is_told_how_far_the_das_has_come(shop: Shop) -> None:
    shop.install("1.0")
    own = [event for event in shop.events if event.node is None and event.instance is None]
    assert list(dict.fromkeys((event.phase, event.text) for event in own)) == [
        (phase, "app-1.0.tar.gz") for phase in ("copying", "unpacking", "keeping")
    ]
    kept = own[-1]
    assert kept.phase == "keeping"
    assert kept.sent == kept.total > 0


def test_a_second_release_lies_beside_and_sends_only_what_is_new(shop: Shop) -> None:
    shared = os.urandom(300_000)
    shop.install("1.0", shared=shared)
    before = shop.links.tallies["n1"].bytes_sent
    shop.install("2.0", shared=shared)
    assert (
        shop.links.tallies["n1"].bytes_sent - before < 100_000
    )  # the helper and the manifest, but not `shared`
    assert current(shop, "n1") == "releases/1.0"
    assert (shop.software("n1") / "releases/2.0/shared").read_bytes() == shared
    assert list(shop.domain().releases) == ["1.0", "2.0"]
    assert shop.domain().nodes["n1"].software == "1.0"


def test_a_large_file_that_changed_a_little_travels_as_a_delta(shop: Shop) -> None:
    modules = os.urandom(2_000_000)
    shop.install("1.0", modules=modules)
    before = shop.links.tallies["n1"].bytes_sent
    changed = modules[:900_000] + b"patched" + modules[900_000:]
    shop.install("1.1", modules=changed)
    assert shop.links.tallies["n1"].bytes_sent - before < 200_000
    assert (shop.software("n1") / "releases/1.1/modules").read_bytes() == changed


def test_a_release_that_is_known_needs_no_archive(shop: Shop) -> None:
    shop.install("1.0")
    for other in ("second", "third"):
        shop.file.write_text(shop.file.read_text() + f"# {other}\n")  # further revisions
        shop.good("sync-domain")
    shop.good("install-node n3 --version 1.0")
    assert current(shop, "n3") == "releases/1.0"
    assert shop.domain().nodes["n3"].software == "1.0"


def test_what_a_release_holds_never_changes(shop: Shop) -> None:
    shop.install("1.0")
    before = shop.file.read_bytes()
    code, shown = shop.run(f"install-node n1 --archive {shop.release('1.0', 'other')} --version 1.0")
    assert code == 1
    assert "holds something else" in shown
    assert shop.file.read_bytes() == before
    code, shown = shop.run("install-node n1 --version 9.9")
    assert (code, "no release '9.9' yet" in shown) == (2, True)
    assert shop.run("install-node n1 --archive /no/such.tgz --version 9.9")[0] == 2
    code, shown = shop.run(f"install-node n1 --archive {shop.base} --version 9.9")
    assert (code, "holds the domain itself" in shown) == (2, True)


def test_an_instance_called_software_is_in_the_way_before_any_node_is_asked(shop: Shop) -> None:
    shop.change("  app2: {node: n2,", "  software: {node: n3, cluster: app}\n  app2: {node: n2,")
    code, shown = shop.run(f"install-node n1 --archive {shop.release('1.0')} --version 1.0")
    assert (code, "an instance is called 'software'" in shown) == (1, True)
    assert not shop.links.tallies
    shop.change("  software: {node: n3, cluster: app}\n", "")


@pytest.mark.parametrize("version", ["", "../up", "a/b", ".hidden", "x" * 300, "zwei drei"])
def test_versions_are_names(shop: Shop, version: str) -> None:
    code, shown = shop.run(f"install-node n1 --archive {shop.release('1.0')} --version '{version}'")
    assert code == 2, shown
    assert not shop.software("n1").exists()


def test_an_archive_is_stripped_of_its_only_folder_unless_that_is_not_wanted(shop: Shop) -> None:
    shop.good(f"install-node n1 --archive {shop.release('1.0')} --version 1.0 --no-strip")
    assert os.listdir(shop.software("n1") / "releases/1.0") == ["app-1.0"]
    flat = packed(shop.base / "flat.tgz", {"bin/server": "x", "README": "y"})
    shop.good(f"install-node n1 --archive {flat} --version 2.0")
    assert sorted(os.listdir(shop.software("n1") / "releases/2.0")) == ["README", "bin"]


def test_a_folder_and_a_single_file_are_releases_too(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "built"
    (folder / "only/empty").mkdir(parents=True)
    (folder / "only/run").write_text("x")
    (folder / "only/run").chmod(0o750)
    (folder / "only/link").symlink_to("run")
    shop.good(f"install-node n1 --archive {folder} --version dev")
    there = shop.software("n1") / "releases/dev/only"  # a folder is meant as it is
    assert (there / "run").stat().st_mode & 0o777 == 0o750
    assert (there / "run").stat().st_mtime_ns == (folder / "only/run").stat().st_mtime_ns
    assert (there / "link").readlink() == Path("run")
    assert (there / "empty").is_dir()
    binary = tmp_path / "prometheus"
    binary.write_bytes(b"\x7fELF...")
    code, shown = shop.run(f"install-node n1 --archive {binary} --version 3")
    assert (code, "nor an executable file" in shown) == (1, True)
    binary.chmod(0o755)
    shop.good(f"install-node n1 --archive {binary} --version 3")
    assert os.access(shop.software("n1") / "releases/3/prometheus", os.X_OK)


def test_links_out_of_a_release_are_refused_before_any_node_is_asked(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "passwd").symlink_to("/etc/passwd")
    code, shown = shop.run(f"install-node n1 --archive {folder} --version evil")
    assert code != 0
    assert "passwd" in shown
    assert not shop.links.tallies
    assert not (shop.root / ".dasctl/releases").exists()


def test_a_node_that_is_away_is_told_and_the_others_are_served(shop: Shop) -> None:
    shop.away("n2")
    code, shown = shop.run(f"install-node n1 n2 --archive {shop.release('1.0')} --version 1.0")
    assert code == 3
    assert "connection refused" in shown
    domain = shop.domain()
    assert (domain.nodes["n1"].software, domain.nodes["n2"].software) == ("1.0", None)
    shop.errors.clear()
    shop.good("install-node n2 --version 1.0")
    assert shop.domain().nodes["n2"].software == "1.0"


def test_where_no_node_could_be_reached_nothing_is_recorded(shop: Shop) -> None:
    shop.away("n1")
    before = shop.file.read_bytes()
    assert shop.run(f"install-node n1 --archive {shop.release('1.0')} --version 1.0")[0] == 4
    assert shop.file.read_bytes() == before
    assert not (shop.root / ".dasctl/releases/1.0").exists()


def test_a_command_that_was_killed_before_it_wrote_domain_yaml_is_finished_by_the_next(shop: Shop) -> None:
    before = shop.file.read_bytes()
    shop.install("1.0")
    shop.file.write_bytes(before)  # as if it had never been told
    shop.install("1.0")
    assert shop.domain().nodes["n1"].software == "1.0"
    assert shop.domain().releases["1.0"].digest is not None


def test_contents_of_releases_are_needed_as_long_as_the_release_is_known(shop: Shop) -> None:
    from dasctl.operations.keeping import needed
    from dasctl.operations.recording import current as now

    shop.install("1.0")
    ctx = shop.context("test")
    found = set(needed(ctx, now(ctx).slices))
    data = (shop.root / ".dasctl/releases/1.0/manifest").read_bytes()
    held = {line.split(b" ")[4].decode() for line in data.split(b"\0") if line[:1] == b"f"}
    assert held
    assert held <= found


def test_uninstall_is_refused_for_what_is_current_and_forgets_what_no_node_has(shop: Shop) -> None:
    shop.install("1.0")
    shop.install("2.0")
    code, shown = shop.run("uninstall-node n1 --version 1.0")
    assert (code, "current release" in shown) == (1, True)
    assert (shop.software("n1") / "releases/1.0").exists()
    shown = shop.good("uninstall-node n1 --version 2.0")
    assert "still known" in shown
    assert os.listdir(shop.software("n1") / "releases") == ["1.0"]
    assert "2.0" in shop.domain().releases
    shown = shop.good("uninstall-node '*' --version 2.0")
    assert "forgotten" in shown
    assert list(shop.domain().releases) == ["1.0"]
    assert os.listdir(shop.root / ".dasctl/releases") == ["1.0"]


def test_what_servers_wrote_into_a_release_stays(shop: Shop) -> None:
    shop.install("1.0")
    shop.install("2.0")
    work = shop.software("n1") / "releases/2.0/work"
    work.mkdir()
    (work / "session").write_text("precious")
    shown = shop.good("uninstall-node n1 n2 --version 2.0")
    assert "stays" in shown
    assert (work / "session").read_text() == "precious"
    assert not (shop.software("n1") / "releases/2.0/bin").exists()
    assert "left behind" in shop.good("list-nodes --long")


def test_list_nodes_tells_versions_current_and_space(shop: Shop) -> None:
    assert "SOFTWARE" not in shop.good("list-nodes --long")
    shop.install("1.0")
    shop.install("2.0", "n1")
    shop.away("n2")
    shown = shop.good("list-nodes --long")
    assert "1.0,2.0" in shown
    assert "what node n2 has is not known" in shown
    tallies = {name: tally.opened for name, tally in shop.links.tallies.items()}
    shop.good("list-nodes")
    assert {name: tally.opened for name, tally in shop.links.tallies.items()} == tallies  # nobody is asked


def test_somebody_who_moved_current_by_hand_is_found_out(shop: Shop) -> None:
    shop.install("1.0")
    shop.install("2.0")
    link = shop.software("n1") / "current"
    link.unlink()
    link.symlink_to("releases/2.0")
    assert "its software is to be 1.0" in shop.good("list-nodes --long")


def test_a_folder_of_the_nodes_is_used_where_it_holds_the_same_everywhere(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "jvm"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/java").write_text("java")
    shop.good(f"install-node n1 n2 --folder {folder} --version deb")
    release = shop.domain().releases["deb"]
    assert (release.folder, len(str(release.digest))) == (str(folder), 64)
    assert release == Release(folder=str(folder), digest=release.digest)
    assert (shop.software("n1") / "current").readlink() == folder
    assert shop.domain().nodes["n2"].software == "deb"
    shop.good("install-node n3 --version deb")
    (folder / "bin/java").write_text("jav2")
    assert "has changed since" in shop.good("list-nodes --long")
    code, shown = shop.run("install-node '*' --version deb")
    assert (code, "has changed since" in shown) == (1, True)
    shop.good("install-node '*' --version deb --force")
    assert shop.domain().releases["deb"].digest != release.digest
    assert "has changed since" not in shop.good("list-nodes --long")
    code, shown = shop.run("uninstall-node n1 --version deb")
    assert (code, "current release" in shown) == (1, True)
    code, shown = shop.run("install-node n1 --folder /nowhere --version gone")
    assert (code, "No such file" in shown) == (1, True)
    assert "gone" not in shop.domain().releases


def test_a_wiped_node_gets_the_release_that_it_shall_have(shop: Shop) -> None:
    import shutil

    shop.install("1.0")
    shutil.rmtree(shop.nodes / "n1")
    shop.good("install-node n1 --version 1.0")
    assert current(shop, "n1") == "releases/1.0"


def test_after_a_take_over_the_releases_are_administered_on(shop: Shop) -> None:
    shop.install("1.0")
    shop.good("sync-domain")
    for path in (shop.root / ".dasctl").glob("history.db*"):
        path.unlink()
    code, shown = shop.run(f"install-node n1 --archive {shop.release('2.0')} --version 2.0")
    assert (code, "take-over" in shown) == (6, True)
    shop.good("take-over")
    shop.install("2.0", "n1")
    assert sorted(os.listdir(shop.software("n1") / "releases")) == ["1.0", "2.0"]


def test_the_last_release_may_go_and_another_come(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    shop.good(f"install-node '*' --folder {folder} --version deb")
    shop.install("1.0", "'*'")
    shop.good("uninstall-node '*' --version 1.0")
    assert sorted(os.listdir(shop.software("n1"))) == [".dasctl", "current"]
    assert list(shop.domain().releases) == ["deb"]
    shop.install("1.1", "'*'")
    assert os.listdir(shop.software("n1") / "releases") == ["1.1"]


def test_what_is_damaged_on_a_node_is_found_out_by_looking_and_a_newer_format_is_refused(shop: Shop) -> None:
    shop.install("1.0")
    release = shop.software("n1") / ".dasctl/manifest"
    release.write_bytes(release.read_bytes()[:-7])  # damaged: what is there is found out by looking
    shop.good("install-node n1 --version 1.0")
    assert os.listdir(shop.software("n1") / "releases") == ["1.0"]
    (shop.software("n1") / ".dasctl/state.json").write_text('{"format": 99}')
    code, shown = shop.run("install-node n1 --version 1.0")
    assert (code, "newer dasctl" in shown) == (6, True)

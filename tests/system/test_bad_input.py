"""Wrong files and wrong words, through the real command line: exit 2, everything said at once, nothing done."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster, rsync_finds, tree_of
from tests.system.failing import decent, refused
from tests.system.sshd import Sshd, SshSetting, node_user

FAULTS = """\
format: 1
domain: {name: server, id: not-a-uuid, criterion: guess, deviations: ignore}
nodes:
  n1: {host: 127.0.0.1, port: 70000, dir: relative/dir}
  n2: {host: 127.0.0.1, hots: oops}
  n3: {host: 127.0.0.1, dir: ~/../up}
configs:
  web-config:
    start: run ${http.prot} ${nobody.knows}
    ready: {http: "ftp://x", timeout: soon}
    stop: {signal: NOSUCH}
    restart-on: [config/**]
    properties: {http.port: 8080}
clusters:
  web: {config: web-confg}
  domain: {config: web-config}
instances:
  web1: {node: n9, cluster: web}
  web2: {node: n2, cluster: wbe}
  web3: {node: n2, config: web-config}
  web4: {node: n2, config: web-config}
  server: {node: n2, config: web-config}
  "bad name": {node: n2, config: web-config}
applications:
  hello: {targets: [wed]}
"""
TOLD = (
    # where it is, and what is said of it
    ("domain/name", "reserved"),
    ("domain/id", "UUID"),
    ("domain/criterion", "guess"),
    ("domain/deviations", "ignore"),
    ("nodes/n1/port", "70000"),
    ("nodes/n1/dir", "relative/dir"),
    ("nodes/n2/hots", "did you mean 'host'?"),
    ("nodes/n3/dir", ".."),
    ("configs/web-config/start", "http.prot"),
    ("configs/web-config/start", "nobody.knows"),
    ("configs/web-config/ready/http", "ftp://x"),
    ("configs/web-config/ready/timeout", "soon"),
    ("configs/web-config/stop/signal", "NOSUCH"),
    ("clusters/web/config", "did you mean 'web-config'?"),
    ("clusters/domain", "reserved"),
    ("instances/web1/node", "no node named 'n9'; did you mean 'n1'?"),
    ("instances/web2/cluster", "did you mean 'web'?"),
    ("instances/web4", "8080"),
    ("instances/server", "reserved"),
    ("instances/bad name", "name"),
    ("applications/hello/targets", "did you mean 'web'?"),
)
BROKEN = (
    ("not closed", "format: 1\nnodes: {n1: {host: h\n"),
    ("tab", "format: 1\nnodes:\n\tn1: {host: h}\n"),
    ("two documents", "format: 1\n---\nformat: 1\n"),
    ("an alias to nothing", "format: 1\nnodes: *nowhere\n"),
    ("the same key twice", "format: 1\nnodes: {n1: {host: a}, n1: {host: b}}\n"),
    ("empty", ""),
    ("a list", "- 1\n- 2\n"),
    ("a word", "hello"),
    ("not UTF-8", b"format: 1\ndomain: {name: caf\xe9}\n"),
    ("a NUL", b"format: 1\n\0\n"),
    ("a python object", "format: 1\nnodes: !!python/object/apply:os.system ['touch /tmp/pwned']\n"),
    (
        "a conflict of git",
        "format: 1\n<<<<<<< HEAD\nnodes: {}\n=======\nnodes: {n1: {host: h}}\n>>>>>>> other\n",
    ),
)


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory("n1")])


@pytest.fixture
def unreachable(tmp_path: Path, ssh: SshSetting) -> Cluster:
    """A domain whose nodes must not even be asked: their sshds were never started."""
    server = Sshd(folder=tmp_path / "n1", host_key=ssh.host_key, authorized="", user=node_user(), port=1)
    return make_cluster(tmp_path, ssh, [server])


def test_every_fault_of_domain_yaml_is_told_at_once_and_nothing_happens(unreachable: Cluster) -> None:
    unreachable.yaml().write_text(FAULTS)
    before = tree_of(unreachable.root)
    for command in (
        ("verify-domain",),
        ("sync-cluster", "web"),
        ("start-instance", "web1"),
        ("list-instances",),
    ):
        run = refused(unreachable, *command, code=2)
        lines = run.json["error"]["message"].splitlines()
        for place, words in TOLD:
            assert any(f"{place}" in line and words in line for line in lines), f"{place}: {words}\n{run}"
        # Each with its line in the file, each once.
        assert all("domain.yaml:" in line for line in lines[1:]), str(run)
        assert len(set(lines)) == len(lines), str(run)
    assert {path for path in tree_of(unreachable.root) if not path.startswith(b".dasctl")} == set(before)
    assert unreachable.yaml().read_text() == FAULTS


def test_broken_yaml_is_told_with_its_line(unreachable: Cluster) -> None:
    for what, text in BROKEN:
        unreachable.yaml().write_bytes(text if isinstance(text, bytes) else text.encode())
        run = refused(unreachable, "sync-domain", code=2)
        assert "domain.yaml" in run.json["error"]["message"], f"{what}\n{run}"
        again = decent(unreachable.run("verify-domain"))
        assert again.code == 2
        assert "domain.yaml" in again.err


def test_a_newer_format_is_refused_by_name(unreachable: Cluster) -> None:
    unreachable.edit_yaml("format: 1", "format: 2")
    run = refused(unreachable, "sync-domain", code=2)
    assert "format" in run.json["error"]["message"]


def test_a_broken_domain_yaml_leaves_servers_and_files_alone(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    before = tree_of(cluster.folder("web1"))
    good = cluster.yaml().read_text()
    cluster.edit_yaml("cluster: web", "cluster: wbe")
    cluster.write("docroot/index.html", "new")
    refused(cluster, "sync-cluster", "web", code=2)
    refused(cluster, "create-instance", "web2", "--node", "n1", "--cluster", "web", code=2)
    assert tree_of(cluster.folder("web1")) == before
    cluster.yaml().write_text(good)
    assert cluster.json("sync-cluster", "web").row("web1")["revision"] == 2


def test_unknown_words(unreachable: Cluster) -> None:
    for words, told in (
        (("sync-instance", "wbe1"), "did you mean 'web1'?"),
        (("sync-cluster", "wep"), "did you mean 'web'?"),
        (("start-instance", "node:n2"), "did you mean 'n1'?"),
        (("stop-cluster", "web[1-"), "web[1-"),
        (("list-instances", "wed"), "did you mean 'web'?"),
        (("ping-node-ssh", "n2"), "did you mean 'n1'?"),
        (("delete-node-ssh", "m1"), "did you mean 'n1'?"),
        (("delete-cluster", "wep"), "did you mean 'web'?"),
        (("delete-instance", "web2"), "did you mean 'web1'?"),
        (("create-instance", "web2", "--node", "n2", "--cluster", "web"), "did you mean 'n1'?"),
        (("create-instance", "web2", "--node", "n1", "--cluster", "wep"), "did you mean 'web'?"),
        (("create-instance", "../up", "--node", "n1", "--cluster", "web"), "../up"),
        (("create-instance", "server", "--node", "n1", "--cluster", "web"), "reserved"),
        (("sync-clutser", "web"), "sync-cluster"),
        (("sync-cluster", "web", "--criterion", "guess"), "guess"),
        (("sync-cluster", "web", "--dryrun"), "--dry-run"),
        (("create-node-ssh", "n5"), "--nodehost"),
    ):
        run = refused(unreachable, *words, code=2)
        assert told in run.json["error"]["message"] + run.json["error"]["hint"], str(run)


def test_no_domain(unreachable: Cluster, tmp_path: Path) -> None:
    run = decent(unreachable.run("--json", "sync-domain", domain=tmp_path / "nowhere"))
    assert (run.code, run.json["exit_code"]) == (2, 2)
    assert "nowhere" in run.json["error"]["message"]


def test_a_domain_folder_with_spaces_quotes_and_unicode(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    for name in ("mein schöner 'Laden' $HOME `x`", '日本 "shop"\n', os.fsdecode(b"caf\xe9")):
        folder = tmp_path / f"in {name}"
        folder.mkdir()
        cluster = make_cluster(folder, ssh, [sshd_factory()])
        home = next(iter(cluster.nodes.values()))
        cluster.write(f"docroot/{name.strip()}.txt", "content")
        cluster.json("sync-domain")
        assert cluster.json("sync-domain").json["status"] == "unchanged"
        assert tree_of(home.home / "das/web1/docroot") == tree_of(cluster.root / "docroot")
        cluster.edit_yaml("restart-on", "env: {HERE: '${domain.name}'}\n    restart-on")
        cluster.json(
            "create-instance", "web9", "--node", "n1", "--cluster", "web", "--property", "http.port=9"
        )


def test_links_out_of_the_repository_are_refused_from_either_side(cluster: Cluster) -> None:
    secret = cluster.root.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    os.symlink(secret, cluster.root / "docroot/folder")
    os.symlink(secret / "key", cluster.root / "docroot/file")
    os.symlink("../../secret/key", cluster.root / "docroot/up")
    run = refused(cluster, "sync-cluster", "web", code=1)
    for name in ("folder", "file", "up"):
        assert f"docroot/{name}" in run.json["error"]["message"], str(run)
        assert not os.path.lexists(cluster.folder("web1") / "docroot" / name)
    (cluster.root / "lib/common.txt").unlink()
    (cluster.root / "lib").rmdir()
    os.symlink(secret, cluster.root / "lib")
    run = refused(cluster, "sync-cluster", "web", code=1)
    assert "lib is a symbolic link" in run.json["error"]["message"]


@pytest.mark.parametrize("place", ["docroot", "docroot/deep", "."])
def test_a_folder_on_the_node_that_became_a_link_is_not_written_through(cluster: Cluster, place: str) -> None:
    """Whoever owns the node's folder must not have dasctl write or delete elsewhere."""
    cluster.write("docroot/deep/page.html", "old")
    cluster.json("sync-cluster", "web")
    home = cluster.nodes["n1"].home
    elsewhere = home / "elsewhere"
    there = Path(os.path.normpath(cluster.folder("web1") / place))
    subprocess.run(["cp", "-a", str(there), str(elsewhere)], check=True)
    (elsewhere / "precious.txt").write_text("precious")
    subprocess.run(["rm", "-rf", str(there)], check=True)
    there.symlink_to(elsewhere)
    before = tree_of(elsewhere)
    cluster.write("docroot/deep/page.html", "new content")
    cluster.write("docroot/deep/more.html", "more")
    for more in ((), ("--full",)):
        run = decent(cluster.run("--json", "sync-cluster", "web", *more))
        assert tree_of(elsewhere) == before, str(run)
        if run.code == 0:
            assert not there.is_symlink()
            assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot") == ""
        else:
            assert place == "."
            assert "symbolic link" in run.row("web1")["error"]["message"]
            assert run.row("web1")["error"]["hint"]


@pytest.mark.parametrize("place", [".dasctl", ".dasctl/staging", "logs", "logs/server.log"])
def test_our_own_folders_on_the_node_that_became_links(cluster: Cluster, place: str) -> None:
    cluster.json("start-cluster", "web")
    cluster.json("stop-cluster", "web")
    elsewhere, there = cluster.nodes["n1"].home / "elsewhere", cluster.folder("web1") / place
    subprocess.run(["mv", str(there), str(elsewhere)], check=True)
    there.symlink_to(elsewhere)
    before = tree_of(elsewhere) if elsewhere.is_dir() else elsewhere.read_text()
    cluster.write("docroot/index.html", "new")
    run = refused(cluster, "start-cluster", "web", code=1)
    assert f"web1/{place.removesuffix('/server.log')}" in run.row("web1")["error"]["message"], str(run)
    assert before == (tree_of(elsewhere) if elsewhere.is_dir() else elsewhere.read_text())


ODD = r"""a 'b' "c" $HOME `id` \ ; & | > x * ? ~ #!(){}[] é 日"""


def test_odd_property_values_reach_the_server_exactly(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    start = "exec python3 applications/hello/tell.py ${odd} --more=${odd} \"in ${odd} quotes\" '${odd}'"
    more = "ready: {log: 'told'}\nproperties: {odd: plain}\nenv: {ODD: '${odd}'}"
    cluster = make_cluster(tmp_path, ssh, [sshd_factory("n1")], start=start, more=more)
    cluster.write(
        "applications/hello/tell.py",
        "import json, os, sys, time\n"
        "json.dump([*sys.argv[1:], os.environ['ODD']], open('run/told', 'w'))\n"
        "print('told', flush=True)\n"
        "time.sleep(100)\n",
    )
    values = (ODD, "-n", "", "a\nb", "$(touch /tmp/pwned-by-property)", "%s%n", "\t")
    for value in values:
        name = f"web{100 + values.index(value)}"
        run = cluster.json(
            "create-instance", name, "--node", "n1", "--cluster", "web", "--property", f"odd={value}",
            "--property", f"http.port={4000 + values.index(value)}",
        )  # fmt: skip
        assert run.json["status"] == "ok"
        assert decent(cluster.run("start-instance", name)).code == 0
        import json

        told = json.loads((cluster.nodes["n1"].home / "das" / name / "run/told").read_text())
        assert told == [value, f"--more={value}", f"in {value} quotes", value, value], value
    cluster.json("stop-cluster", "web", "--kill")
    assert not os.path.exists("/tmp/pwned-by-property")

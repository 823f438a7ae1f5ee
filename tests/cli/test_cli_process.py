"""The program as a process: how fast it starts, what it imports, what it does when nobody reads, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOMAIN = """
format: 1
nodes: {n1: {host: a}, n2: {host: b}}
clusters: {web: {config: c}}
instances: {web1: {node: n1}, web2: {node: n2}}
configs: {web-config: {start: x}}
"""

NODE_KEYS = ("host", "port", "user", "key", "dir", "jump", "software")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = ("DASCTL_DOMAIN", "_DASCTL_COMPLETE")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, *command], env={**clean, **environment}, capture_output=True, text=True, timeout=60
    )


def test_the_version_comes_without_any_imports() -> None:
    ran = run("-X", "importtime", "-m", "dasctl", "--version")
    assert ran.stdout.startswith("dasctl ")
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert not imported & {"asyncssh", "typer", "rich", "asyncio", "yaml"}


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "sync-cluster --help",
        "sync-cluter",
        "sync-cluster --nope",
        "--json --version",
        "list-nodes -x",
    ],
)
def test_words_alone_import_neither_ssh_nor_the_loop(line: str) -> None:
    ran = run("-X", "importtime", "-m", "dasctl", *line.split())
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"asyncssh", "rich", "asyncio", "yaml", "dasctl.wiring"}


def test_a_list_without_status_does_not_import_ssh(tmp_path: Path) -> None:
    made = run("-m", "dasctl", "create-domain", str(tmp_path / "shop"), "--sample")
    assert made.returncode == 0, made.stderr
    ran = run(
        "-X", "importtime", "-m", "dasctl", "--domain", str(tmp_path / "shop"), "list-instances", "--nostatus"
    )
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "asyncssh" not in imported


def test_a_reader_that_goes_away_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from dasctl.cli.main import main; import sys; sys.argv = ['dasctl', '--help']; main()"
    with os.fdopen(writer, "wb") as out:
        ran = subprocess.run([sys.executable, "-c", program], stdout=out, stderr=subprocess.PIPE, timeout=60)
    assert ran.stderr == b""


def test_an_encoding_without_the_letters_is_no_failure() -> None:
    ran = run(
        "-m", "dasctl", "größe", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert ran.returncode == 2
    assert "no such command" in ran.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("dasctl sync-cl", ["sync-cluster"]),
        ("dasctl sync-instance ", ["domain", "web", "web1", "web2", "node:n1", "node:n2"]),
        ("dasctl sync-instance web1,w", ["web1,web", "web1,web1", "web1,web2"]),
        ("dasctl sync-instance node : n", ["n1", "n2"]),
        ("dasctl start-cluster ", ["web"]),
        ("dasctl ping-node-ssh n", ["n1", "n2"]),
        ("dasctl create-instance x --node ", ["n1", "n2"]),
        ("dasctl get nodes.n1", [f"nodes.n1.{key}" for key in NODE_KEYS]),
        ("dasctl set nodes.n2.p", ["nodes.n2.port"]),
        ("dasctl set nodes.n2.port =", []),
        ("dasctl set nodes.n2.port = n", []),
        (
            "dasctl set --unset inst",
            [f"instances.web{i}.{key}" for i in (1, 2) for key in ("node", "cluster", "config")],
        ),
        ("dasctl --json delete-instance web", ["web1", "web2"]),
        ("dasctl delete-instance --verbose web", ["web1", "web2"]),
    ],
)
@pytest.mark.parametrize("where", ["environment", "option"])
def test_completion_of_names(tmp_path: Path, words: str, found: list[str], where: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "domain.yaml").write_text(DOMAIN)
    more = {"DASCTL_DOMAIN": str(tmp_path)} if where == "environment" else {}
    if where == "option":
        words = words.replace("dasctl ", f"dasctl --domain {tmp_path} ", 1)
    ran = run(
        "-m", "dasctl", _DASCTL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1),
        **more,
    )  # fmt: skip
    assert ran.stdout.split() == found
    assert ran.stderr == ""


@pytest.mark.parametrize("content", [b"{{", b"[1]", b"\xff\xfe", b"", b"instances: [a]"])
def test_completion_survives_a_broken_domain(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "domain.yaml").write_bytes(content)
    ran = run(
        "-m", "dasctl", _DASCTL_COMPLETE="complete_bash", COMP_WORDS="dasctl delete-instance ", COMP_CWORD="2",
        DASCTL_DOMAIN=str(tmp_path),
    )  # fmt: skip
    assert (ran.stdout.strip(), ran.stderr) == ("", "")


@pytest.mark.parametrize("content", [b"{{", b"[1]", b"nodes: [a]", b"nodes: {n1: 3}"])
def test_completion_of_dotted_names_survives_a_broken_domain(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "domain.yaml").write_bytes(content)
    ran = run(
        "-m", "dasctl", _DASCTL_COMPLETE="complete_bash", COMP_WORDS="dasctl get domain.c", COMP_CWORD="2",
        DASCTL_DOMAIN=str(tmp_path),
    )  # fmt: skip
    assert (ran.stdout.split(), ran.stderr) == (["domain.criterion", "domain.commit"], "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", ["--version", "--help", "--json frobble"])
def test_a_full_disk_behind_the_output_is_told(words: str) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "dasctl", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert ran.returncode in (1, 2)
    assert ran.stderr == "dasctl: the output could not be written: No space left on device\n"


def test_closed_streams_are_no_failure() -> None:
    program = "import sys; sys.stdout = sys.stderr = None; sys.argv = ['dasctl', '--version']\n"
    ran = run("-c", program + "from dasctl.cli.main import main; main()")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")

"""Remembered logins on real OpenSSH: when `ssh` repeats them, when asyncssh logs in as ever, and that nobody can tell."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dasctl.adapters.early_logins import EarlyLogins
from dasctl.adapters.logins import Logins
from dasctl.adapters.ssh import SshLinks
from dasctl.adapters.store import YamlStore
from dasctl.core.domain import Node
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    ExitCode,
    LinkLost,
    NodeTimeout,
    NodeUnreachable,
)
from dasctl.remote import frames
from tests.contracts.shipping import standin_payload
from tests.system.cluster import make_cluster
from tests.system.conftest import node_of
from tests.system.long_line import long_line
from tests.system.sshd import Sshd, SshSetting, append

Factory = Callable[..., Sshd]
TRIES = (
    40  # a busy machine's lines seem long now and then, and what was written a moment ago is not believed yet
)


def children() -> list[int]:
    """The processes called `ssh` that this one has started."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if name_of(int(pid)) == "ssh"]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def links_of(tmp_path: Path, *, timeout_s: float = 30.0) -> SshLinks:
    return SshLinks(tmp_path / "shop", {}, timeout_s=timeout_s, payload=standin_payload())


def memory(tmp_path: Path, ssh: SshSetting) -> Logins:
    return Logins(tmp_path / "shop", ssh.config)


async def repeats(tmp_path: Path, node: Node, *, timeout_s: float = 30.0) -> bool:
    """Use a link; whether it was `ssh` that logged in."""
    async with links_of(tmp_path, timeout_s=timeout_s).open("n1", node) as link:
        await link.ask({"op": "ping"})
        return bool(children())


async def remembered(tmp_path: Path, node: Node) -> None:
    """Let the login at `node` be remembered."""
    for _ in range(TRIES):
        if await repeats(tmp_path, node):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it is never remembered")


async def test_a_login_that_worked_is_repeated(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    node = node_of(sshd_factory(), ssh)
    assert not await repeats(tmp_path, node)
    await remembered(tmp_path, node)
    folder = ssh.home / ".cache/dasctl/logins"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 2, "a memory and a host key; no log stays behind"
    assert not children()


async def test_much_goes_through_in_both_directions(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    node = node_of(sshd_factory(), ssh)
    await remembered(tmp_path, node)
    piece, heard = os.urandom(1 << 20), 0

    def on_event(header: dict[str, object]) -> None:
        nonlocal heard
        heard += 1

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(24):
            yield frames.encode({"part": True}, piece)
        yield frames.encode({"end": True})

    async with links_of(tmp_path).open("n1", node) as link:
        reply = await link.ask({"op": "drain", "echo": True}, then=pieces(), on_event=on_event)
        assert children()
    assert (reply.header["received"], heard) == (24 << 20, 24)


def edited_configuration(tmp_path: Path, ssh: SshSetting) -> None:
    append(ssh.config, "# nothing\n")


def included_configuration(tmp_path: Path, ssh: SshSetting) -> None:
    (ssh.home / ".ssh/more").mkdir(exist_ok=True)
    (ssh.home / ".ssh/more/new.conf").write_text("# nothing\n")


def edited_known_hosts(tmp_path: Path, ssh: SshSetting) -> None:
    append(ssh.known_hosts, "# nothing\n")


def accepted_key(tmp_path: Path, ssh: SshSetting) -> None:
    (tmp_path / "shop/.dasctl").mkdir(parents=True, exist_ok=True)
    (tmp_path / "shop/.dasctl/known_hosts").write_text("# nothing\n")


def replaced_key(tmp_path: Path, ssh: SshSetting) -> None:
    data = (tmp_path / "key").read_bytes()
    (tmp_path / "key").unlink()
    (tmp_path / "key").write_bytes(data)
    (tmp_path / "key").chmod(0o600)


def new_certificate(tmp_path: Path, ssh: SshSetting) -> None:
    (tmp_path / "key-cert.pub").write_text("not one\n")


def memories(ssh: SshSetting) -> Path:
    (file,) = (ssh.home / ".cache/dasctl/logins").glob("*.json")
    return file


def torn_memory(tmp_path: Path, ssh: SshSetting) -> None:
    os.truncate(memories(ssh), 100)


def altered_memory(tmp_path: Path, ssh: SshSetting) -> None:
    text = memories(ssh).read_text()
    memories(ssh).write_text(text.replace('"host": "127.0.0.1"', '"host": "127.0.0.2"'))


def readable_memory(tmp_path: Path, ssh: SshSetting) -> None:
    memories(ssh).chmod(0o644)


def open_folder(tmp_path: Path, ssh: SshSetting) -> None:
    memories(ssh).parent.chmod(0o777)


def altered_host_key(tmp_path: Path, ssh: SshSetting) -> None:
    (file,) = memories(ssh).parent.glob("k*")
    append(file, "k ssh-ed25519 AAAA\n")


CHANGES = (
    edited_configuration, included_configuration, edited_known_hosts, accepted_key, replaced_key, new_certificate,
    torn_memory, altered_memory, readable_memory, open_folder, altered_host_key,
)  # fmt: skip


async def test_whatever_changes_asyncssh_logs_in_once_more(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    shutil.copy(ssh.key, tmp_path / "key")
    append(ssh.config, "Include more/*.conf\n")
    node = replace_key(node_of(sshd_factory(), ssh), tmp_path / "key")
    for change in CHANGES:
        await remembered(tmp_path, node)
        change(tmp_path, ssh)
        assert memory(tmp_path, ssh).remembered("n1", node) is None, change.__name__
    (tmp_path / "key-cert.pub").unlink()
    await remembered(tmp_path, node)
    assert memory(tmp_path, ssh).remembered("n1", node) is not None
    for other in (
        Node(host="localhost", port=node.port, user=node.user, key=node.key),
        Node(host=node.host, port=node.port, user="root", key=node.key),
        Node(host=node.host, port=node.port, user=node.user, key=node.key, jump="b"),
    ):
        assert memory(tmp_path, ssh).remembered("n1", other) is None
    assert Logins(tmp_path / "shop", None).remembered("n1", node) is None, "another configuration"
    assert Logins(tmp_path / "other", ssh.config).remembered("n1", node) is None, "another domain"


def replace_key(node: Node, key: Path) -> Node:
    return Node(host=node.host, port=node.port, user=node.user, key=str(key), dir=node.dir)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
async def test_a_memory_of_somebody_else_is_none(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    node = node_of(sshd_factory(), ssh)
    await remembered(tmp_path, node)
    os.chown(memories(ssh), 12345, 12345)
    assert memory(tmp_path, ssh).remembered("n1", node) is None
    os.chown(memories(ssh), 0, 0)
    os.chown(memories(ssh).parent, 12345, 12345)
    assert memory(tmp_path, ssh).remembered("n1", node) is None


async def test_it_can_be_switched_off(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = node_of(sshd_factory(), ssh)
    await remembered(tmp_path, node)
    monkeypatch.setenv("DASCTL_REMEMBER_LOGINS", "no")
    assert not await repeats(tmp_path, node)


@pytest.mark.parametrize(
    "line",
    [
        "SetEnv A=b", "BindAddress 127.0.0.1", "Match exec true\n  ServerAliveCountMax 5", "IdentityFile ${HOME}/key",
        "ProxyCommand python3 -c \"import socket,os,threading;s=socket.create_connection(('127.0.0.1',%p));"
        "t=threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],daemon=True);"
        "t.start();[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]\"",
    ],
    ids=["environment", "address", "exec", "variable", "proxy"],
)  # fmt: skip
async def test_what_ssh_might_do_otherwise_is_not_remembered(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, line: str
) -> None:
    node = node_of(sshd_factory(), ssh)
    await remembered(tmp_path, node)
    append(ssh.config, f"Host *\n  {line}\n")
    await asyncio.sleep(0.3)
    for _ in range(3):
        assert not await repeats(tmp_path, node)


async def test_algorithms_of_the_configuration_are_passed_on(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory(Ciphers="aes256-ctr,aes128-gcm@openssh.com", MACs="hmac-sha2-512,hmac-sha2-256")
    append(ssh.config, "Host *\n  Ciphers aes256-ctr\n  MACs hmac-sha2-512\n")
    await remembered(tmp_path, node_of(server, ssh))
    login = memory(tmp_path, ssh).remembered("n1", node_of(server, ssh))
    assert login is not None and set(login.options) == {"Ciphers=aes256-ctr", "MACs=hmac-sha2-512"}


async def test_an_agent_or_several_keys_are_asyncsshs(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    node = Node(host="127.0.0.1", port=server.port, user=server.user)
    for name, key in (("id_ed25519", ssh.other_key), ("id_rsa", ssh.key)):
        shutil.copy(key, ssh.home / ".ssh" / name)
    await asyncio.sleep(0.3)
    for _ in range(3):
        assert not await repeats(tmp_path, node)
    (ssh.home / ".ssh/id_ed25519").unlink()
    await remembered(tmp_path, node)
    shutil.copy(ssh.other_key, ssh.home / ".ssh/id_ecdsa")
    assert not await repeats(tmp_path, node), "a key that came since then has a say"


async def test_a_long_line_is_not_remembered(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    with long_line(server.port, 0.05) as port:
        ssh.know_port(port)
        node = node_of(replace(server, port=port), ssh)
        await asyncio.sleep(0.3)
        for _ in range(3):
            assert not await repeats(tmp_path, node)


# What goes wrong is told as asyncssh tells it, and forgotten.


async def test_a_changed_host_key_is_a_hard_stop(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, test_keys: Path
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    server.stop()
    server.host_key = test_keys / "other_host"
    server.start()
    for _ in range(2):
        with pytest.raises(ChangedHostKey, match=r"SHA256:\S+ \(ssh-ed25519\) instead of SHA256:"):
            await repeats(tmp_path, node_of(server, ssh))
    assert not children()


async def test_a_refused_key_is_told(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    (server.folder / "authorized_keys").write_text("")
    with pytest.raises(AuthenticationFailed) as caught:
        await repeats(tmp_path, node_of(server, ssh))
    assert "setup-ssh n1" in caught.value.hint
    (server.folder / "authorized_keys").write_text(server.authorized)
    assert not await repeats(tmp_path, node_of(server, ssh)), "it was forgotten"
    await remembered(tmp_path, node_of(server, ssh))


async def test_a_server_that_is_down_is_told(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    server.stop()
    with pytest.raises(NodeUnreachable, match="connection refused"):
        await repeats(tmp_path, node_of(server, ssh))


async def test_a_server_that_hangs_takes_one_time_limit(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    server.hang()
    began = time.monotonic()
    with pytest.raises(NodeTimeout, match="no answer within 2 s"):
        await repeats(tmp_path, node_of(server, ssh), timeout_s=2)
    assert time.monotonic() - began < 3.9
    assert not children()


async def test_a_login_script_that_waits_is_let_in(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    server.stop()
    server.options = {"ForceCommand": "sleep 60"}
    server.start()
    with pytest.raises(NodeTimeout, match="did not speak within 2 s"):
        await repeats(tmp_path, node_of(server, ssh), timeout_s=2)


async def test_a_link_that_breaks_is_lost_with_the_words_of_ssh(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    async with links_of(tmp_path).open("n1", node_of(server, ssh)) as link:
        await link.ask({"op": "ping"})
        server.reset_connections()
        with pytest.raises(LinkLost, match=r"broke in the middle of a conversation[^$]*(closed|Broken pipe)"):
            await link.ask({"op": "slow", "beats": 100, "seconds": 0.1})


async def test_a_node_that_falls_silent_is_noticed(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    async with links_of(tmp_path, timeout_s=1).open("n1", node_of(server, ssh)) as link:
        await link.ask({"op": "ping"})
        server.hang()
        with pytest.raises(LinkLost, match="not responding"):
            await link.ask({"op": "ping"})
    assert not children()


async def test_an_ssh_that_cannot_is_left_alone(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is too old for what it is told: asyncssh logs in, and `ssh` is not tried each time."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/ssh"
    program.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/tried\necho 'Bad configuration option' >&2\nexit 255\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    node, tried = node_of(sshd_factory(), ssh), tmp_path / "tried"
    await asyncio.sleep(0.3)
    for _ in range(TRIES):
        assert not await repeats(tmp_path, node)
        if memory(tmp_path, ssh).rests("n1", node):
            break
    assert tried.read_text() == "x\n"
    assert not await repeats(tmp_path, node)
    assert tried.read_text() == "x\n"


async def test_noise_of_login_scripts_is_heard_out(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, node_of(server, ssh))
    server.stop()
    server.options = {"ForceCommand": 'echo Welcome; echo DASCTL-LINK-1 >&2; eval "$SSH_ORIGINAL_COMMAND"'}
    server.start()
    assert await repeats(tmp_path, node_of(server, ssh))


# The command line begins logins before it has imported itself.


def logins_at(server: Sshd) -> int:
    return server.log.count("Accepted publickey")


def test_one_login_a_synchronisation(tmp_path: Path, ssh: SshSetting, sshd_factory: Factory) -> None:
    servers = [sshd_factory(), sshd_factory()]
    cluster = make_cluster(tmp_path, ssh, servers)
    for number in range(1, 6):
        cluster.write("docroot/index.html", f"<h1>{number}</h1>\n")
        cluster.json("sync-domain")
        assert [logins_at(server) for server in servers] == [number, number]
        assert (cluster.folder("web2") / "docroot/index.html").read_text() == f"<h1>{number}</h1>\n"


def test_what_a_command_does_not_come_to_need_ends_unused(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Factory
) -> None:
    server = sshd_factory()
    cluster = make_cluster(tmp_path, ssh, [server])
    logins = Logins(cluster.root, ssh.config)
    node = Node(host="127.0.0.1", port=server.port, user=server.user, key=str(ssh.key))
    for _ in range(TRIES):
        cluster.json("sync-domain")
        if Logins(cluster.root, ssh.config).remembered("n1", node) is not None:
            break
    early = EarlyLogins()
    early.begin(cluster.root, [("n1", node), ("n2", node)], timeout_s=30)
    assert len(children()) == 1, "nothing is remembered of n2"
    other = replace(logins.remembered("n1", node) or pytest.fail("forgotten"), user="somebody")
    assert early.take("n1", other) is None
    early.end()
    assert not children()
    seen = logins_at(server)
    with YamlStore(cluster.root, sleep=time.sleep).domain_locked("a test", wait_s=0):
        assert cluster.run("sync-domain").code == ExitCode.LOCKED
    assert logins_at(server) == seen, "who has to wait for the lock logs in to nobody"


# Ends.

HOLDER = """
import asyncio, sys
from pathlib import Path
from tests.contracts.shipping import standin_payload
from dasctl.adapters.ssh import SshLinks
from dasctl.adapters.store import YamlStore
from dasctl.core.domain import Node
async def main(root, port, user, key):
    node = Node(host="127.0.0.1", port=int(port), user=user, key=key)
    async with SshLinks(Path(root), {}, timeout_s=30, payload=standin_payload()).open("n1", node) as link:
        await link.ask({"op": "ping"})
        print("here", flush=True)
        await link.ask({"op": "slow", "beats": 600, "seconds": 0.1})
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=str)
async def test_no_ssh_stays_behind(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, number: signal.Signals
) -> None:
    server = sshd_factory()
    await remembered(tmp_path, Node(host="127.0.0.1", port=server.port, user=server.user, key=str(ssh.key)))
    words = [str(tmp_path / "shop"), str(server.port), server.user, str(ssh.key)]
    with subprocess.Popen(  # noqa: ASYNC220 (a fork of some milliseconds)
        [sys.executable, "-c", HOLDER, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == b"here\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            running = [int(pid) for pid in children if name_of(int(pid)) == "ssh"]
            assert len(running) == 1
            assert os.getpgid(running[0]) != os.getpgid(process.pid), "Ctrl-C is not for it"
        finally:
            os.killpg(process.pid, number)
        process.wait(20)
    deadline = time.monotonic() + 20
    while is_there(running[0]) and time.monotonic() < deadline:
        time.sleep(0.05)  # noqa: ASYNC251 (nothing else is to be done)
    assert not is_there(running[0])


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return name_of(pid) == "ssh" and state != "Z"

"""Links to real OpenSSH servers: what a login may be like, and what may go wrong with it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    ExitCode,
    LinkLost,
    NodeNotUsable,
    NodeTimeout,
    NodeUnreachable,
    UnknownHostKey,
)
from dasctl.remote import frames
from tests.contracts.shipping import standin_payload
from tests.system.conftest import node_of
from tests.system.sshd import Sshd, SshSetting, append, free_port, make_key, node_user, run

Factory = Callable[..., Sshd]


def links_of(
    tmp_path: Path,
    nodes: dict[str, Node] | None = None,
    *,
    timeout_s: float = 30.0,
    payload: bytes | None = None,
) -> SshLinks:
    return SshLinks(
        tmp_path / "shop",
        nodes or {},
        timeout_s=timeout_s,
        payload=standin_payload() if payload is None else payload,
    )


async def ping(links: SshLinks, node: Node, name: str = "n1") -> str:
    async with links.open(name, node) as link:
        await link.ask({"op": "ping"})
        return str(link.greeting["home"])


async def test_real_helper_greets(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    node = node_of(server, ssh)
    async with SshLinks(tmp_path / "shop", {}, timeout_s=30).open("n1", node) as link:
        reply = await link.ask({"op": "ping", "dir": node.dir, "domain": "x", "name": "shop", "epoch": 1})
    assert reply.header["writable"] is True
    assert link.round_trips == 1
    assert link.greeting["home"] == str(server.home)


# Login shells.

SHELLS = ("bash", "dash", "csh", "tcsh", "fish")
NOISE = "echo 'Welcome!  {not} a \"greeting\"'\necho DASCTL-LINK-1 is not alone here\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "noisy"])
async def test_login_shells(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, shell: str, noisy: bool
) -> None:
    if os.getuid() != 0:
        # Only root can give users other shells: the server runs it in the place of the user's.
        server = sshd_factory(ForceCommand=f'{shutil.which(shell)} -c "$SSH_ORIGINAL_COMMAND"')
    else:
        path = shutil.which(shell)
        assert path is not None, f"{shell} is needed: apt-get install {shell}"
        user = node_user(f"dasnode-{shell}", path)
        assert pwd.getpwnam(user).pw_shell == path
        server = sshd_factory(user=user)
    if noisy:
        for name in (".bashrc", ".cshrc", ".tcshrc"):
            (server.home / name).write_text(NOISE)
        fish = server.home / ".config" / "fish"
        fish.mkdir(parents=True)
        (fish / "config.fish").write_text(NOISE)
        run(["chmod", "-R", "a+rX", str(server.home)])
    assert await ping(links_of(tmp_path), node_of(server, ssh)) == str(server.home)


async def test_endless_noise_is_shown(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory(ForceCommand="yes bla")
    with pytest.raises(NodeNotUsable, match=r"n1 \(127.0.0.1:\d+\) printed more than 64 KiB[^$]*bla"):
        await ping(links_of(tmp_path), node_of(server, ssh))


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ('PATH=/nonexistent /bin/sh -c "$SSH_ORIGINAL_COMMAND"', r"no python3 on node n1[^$]*python3"),
        ("echo This account is closed; exit 1", r"exit status 1[^$]*This account is closed"),
        ("kill -9 $$", r"n1.*(signal 9|exit status 137)"),
    ],
)
async def test_logins_that_cannot_run_the_helper(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, command: str, told: str
) -> None:
    server = sshd_factory(ForceCommand=command)
    with pytest.raises(NodeNotUsable, match=told) as caught:
        await ping(links_of(tmp_path), node_of(server, ssh))
    assert caught.value.hint


async def test_python_too_old(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory(
        ForceCommand='printf "\\nDASCTL-LINK-1\\n{\\"greeting\\":1,\\"python\\":[3,6,8],\\"error\\":\\"old\\"}\\n"'
    )
    with pytest.raises(NodeNotUsable, match=r"python3 3\.6\.8; 3\.9 or newer"):
        await ping(links_of(tmp_path), node_of(server, ssh))


async def test_login_that_waits_for_ever(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory(ForceCommand="sleep 60")
    with pytest.raises(NodeTimeout, match=r"n1.*did not speak within 2 s"):
        await ping(links_of(tmp_path, timeout_s=2), node_of(server, ssh))


# Keys.


async def test_wrong_key(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    node = node_of(sshd_factory(), ssh)
    with pytest.raises(AuthenticationFailed, match=r"n1 \(127.0.0.1:\d+\)") as caught:
        await ping(
            links_of(tmp_path), Node(host=node.host, port=node.port, user=node.user, key=str(ssh.other_key))
        )
    assert "setup-ssh n1" in caught.value.hint
    assert caught.value.exit_code is ExitCode.UNREACHABLE


async def test_missing_key_file(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    node = node_of(sshd_factory(), ssh)
    with pytest.raises(AuthenticationFailed, match="/nowhere/key does not exist"):
        await ping(links_of(tmp_path), Node(host=node.host, port=node.port, key="/nowhere/key"))


async def test_encrypted_key_without_and_with_agent(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sshd_factory()
    key = make_key(tmp_path / "locked", passphrase="secret words")
    (server.folder / "authorized_keys").write_text(Path(f"{key}.pub").read_text())
    node = Node(host="127.0.0.1", port=server.port, user=server.user, key=str(key))
    with pytest.raises(AuthenticationFailed, match="encrypted") as caught:
        await ping(links_of(tmp_path), node)
    assert "ssh-add" in caught.value.hint
    with agent(tmp_path, key, "secret words") as socket_path:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
        await ping(links_of(tmp_path), node)
        await ping(links_of(tmp_path), Node(host="127.0.0.1", port=server.port, user=server.user))


class agent:
    """An ssh-agent that holds one key."""

    def __init__(self, tmp_path: Path, key: Path, passphrase: str) -> None:
        self._socket = str(tmp_path / "agent")
        self._ask = tmp_path / "askpass"
        self._ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
        self._ask.chmod(0o700)
        self._key = key

    def __enter__(self) -> str:
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", self._socket], stdout=subprocess.DEVNULL)
        while not Path(self._socket).exists():
            time.sleep(0.01)
        environment = {
            **os.environ,
            "SSH_AUTH_SOCK": self._socket,
            "SSH_ASKPASS": str(self._ask),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":0",
        }
        subprocess.run(
            ["ssh-add", "-q", str(self._key)], env=environment, check=True, stdin=subprocess.DEVNULL
        )
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


# The SSH configuration.


async def test_ssh_config_names_everything(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    append(
        ssh.config,
        f"Host shop\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n  IdentityFile {ssh.key}\n",
    )
    await ping(links_of(tmp_path), Node(host="shop"))


async def test_node_wins_over_ssh_config(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    append(ssh.config, f"Host 127.0.0.1\n  Port 1\n  User nobody\n  IdentityFile {ssh.other_key}\n")
    await ping(links_of(tmp_path), node_of(server, ssh))


async def test_broken_ssh_config_is_told(tmp_path: Path, ssh: SshSetting) -> None:
    ssh.config.write_text("Port many\n")
    with pytest.raises(NodeUnreachable, match=r"config line 1"):
        await ping(links_of(tmp_path), Node(host="127.0.0.1"))


async def test_proxy_command(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    relay = (
        "import socket,sys,threading,os;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
        't=threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b\\"\\")],daemon=True);'
        't.start();[os.write(1,d) for d in iter(lambda:s.recv(65536),b\\"\\")]'
    )
    append(ssh.config, f'Host 127.0.0.1\n  ProxyCommand {shutil.which("python3")} -c "{relay}" %h %p\n')
    await ping(links_of(tmp_path), node_of(server, ssh))


async def test_jump_hosts(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    bastion, server = sshd_factory(), sshd_factory()
    node = node_of(server, ssh)
    jump = node_of(bastion, ssh)
    inner = Node(host=node.host, port=node.port, user=node.user, key=node.key, jump="bastion")
    links = links_of(tmp_path, {"bastion": jump, "n1": inner})
    await asyncio.gather(*(ping(links, inner) for _ in range(12)))
    assert bastion.log.count("Accepted publickey") == 1, "one tunnel serves all"
    append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
    text = f"{bastion.user}@127.0.0.1:{bastion.port}"
    await ping(links, Node(host=node.host, port=node.port, user=node.user, key=node.key, jump=text))


async def test_jump_host_that_is_away(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    node = node_of(sshd_factory(), ssh)
    inner = Node(host=node.host, port=node.port, jump="bastion")
    links = links_of(tmp_path, {"bastion": Node(host="127.0.0.1", port=free_port())})
    answers = await asyncio.gather(*(ping(links, inner) for _ in range(5)), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, NodeUnreachable)
        assert "jump host" in str(answer)
        assert "connection refused" in str(answer)


async def test_jump_hosts_in_a_circle(tmp_path: Path, ssh: SshSetting) -> None:
    nodes = {"a": Node(host="127.0.0.1", jump="b"), "b": Node(host="127.0.0.1", jump="a")}
    with pytest.raises(NodeUnreachable, match="circle"):
        await ping(links_of(tmp_path, nodes), nodes["a"], "a")


# Host keys.


async def test_unknown_host_key_is_named_and_accepted(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory(known=False)
    node = node_of(server, ssh)
    links = links_of(tmp_path)
    (tmp_path / "shop").mkdir()
    with pytest.raises(UnknownHostKey, match=r"SHA256:\S+ \(ssh-ed25519\)") as caught:
        await ping(links, node)
    assert "update-node-ssh n1" in caught.value.hint
    key = await links.host_key("n1", node)
    assert key.fingerprint == caught.value.fingerprint
    assert links.host_keys.accept(key, fingerprint=key.fingerprint)
    assert not links.host_keys.accept(key)
    await ping(links, node)
    assert links.host_keys.forget("127.0.0.1", server.port)
    with pytest.raises(UnknownHostKey):
        await ping(links, node)


async def test_changed_host_key_is_a_hard_stop(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, test_keys: Path
) -> None:
    server = sshd_factory()
    server.stop()
    server.host_key = test_keys / "other_host"
    server.start()
    links = links_of(tmp_path)
    with pytest.raises(ChangedHostKey, match=r"SHA256:\S+ \(ssh-ed25519\) instead of SHA256:") as caught:
        await ping(links, node_of(server, ssh))
    assert caught.value.message.count("SHA256:") == 2, "both fingerprints, each of them once"
    assert "--host-key SHA256:" in caught.value.hint
    (tmp_path / "shop").mkdir()
    links.host_keys.replace(await links.host_key("n1", node_of(server, ssh)))
    await ping(links, node_of(server, ssh))


async def test_host_key_of_another_type_is_changed(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory(known=False)
    other = tmp_path / "ecdsa"
    run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(other)])
    blob = " ".join(Path(f"{other}.pub").read_text().split()[:2])
    ssh.known_hosts.write_text(f"[127.0.0.1]:{server.port} {blob}\n")
    with pytest.raises(ChangedHostKey):
        await ping(links_of(tmp_path), node_of(server, ssh))


async def test_hashed_revoked_and_broken_lines(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    run(["ssh-keygen", "-q", "-H", "-f", str(ssh.known_hosts)])
    assert "127.0.0.1" not in ssh.known_hosts.read_text()
    append(ssh.known_hosts, "what is this\n|1|bad|worse ssh-ed25519 AAAA\n")
    await ping(links_of(tmp_path), node_of(server, ssh))
    append(ssh.known_hosts, f"@revoked * {ssh.host_public}\n")
    with pytest.raises(ChangedHostKey, match="revoked"):
        await ping(links_of(tmp_path), node_of(server, ssh))


# Networks.


async def test_refused(tmp_path: Path, ssh: SshSetting) -> None:
    with pytest.raises(NodeUnreachable, match=r"node n1 \(127.0.0.1:\d+\): connection refused"):
        await ping(links_of(tmp_path), Node(host="127.0.0.1", port=free_port()))


async def test_refused_at_several_addresses(tmp_path: Path, ssh: SshSetting) -> None:
    with pytest.raises(NodeUnreachable, match=r"node n1 \(localhost:\d+\): connection refused"):
        await ping(links_of(tmp_path), Node(host="localhost", port=free_port()))


async def test_unknown_host(tmp_path: Path, ssh: SshSetting) -> None:
    with pytest.raises(NodeUnreachable, match="host name is not known"):
        await ping(links_of(tmp_path), Node(host="no-such-host.invalid"))


async def test_something_else_listens(tmp_path: Path, ssh: SshSetting) -> None:
    @asynccontextmanager
    async def server() -> AsyncIterator[int]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        listener = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with listener:
            yield listener.sockets[0].getsockname()[1]

    async with server() as port:
        with pytest.raises(NodeUnreachable, match=r"node n1 \(127"):
            await ping(links_of(tmp_path), Node(host="127.0.0.1", port=port))


async def test_hanging_server_times_out_in_its_time(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory()
    links = links_of(tmp_path, timeout_s=1)
    server.hang()
    began = time.monotonic()
    with pytest.raises(NodeTimeout, match=r"n1.*no answer within 1 s"):
        await ping(links, node_of(server, ssh))
    assert time.monotonic() - began < 10
    server.resume()


async def test_hang_in_the_middle_is_silence(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()
    began = 0.0
    with pytest.raises(NodeTimeout, match=r"n1.*silent for 1 s"):
        async with links_of(tmp_path).open("n1", node_of(server, ssh)) as link:
            await link.ask({"op": "ping"})
            server.hang()
            began = time.monotonic()
            await link.ask({"op": "ping"}, silence_s=1)
    assert time.monotonic() - began < 10
    server.resume()


async def test_reset_in_the_middle(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory()

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1_000_000):
            if number == 50:
                server.reset_connections()
            yield frames.encode({"content": "x"}, b"z" * 65536)

    async with links_of(tmp_path).open("n1", node_of(server, ssh)) as link:
        with pytest.raises(LinkLost, match=r"node n1 \(127.0.0.1:\d+\): the link broke in the middle"):
            await link.ask({"op": "drain"}, then=endless())


async def test_more_nodes_than_logins_at_once(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory(MaxStartups="10:100:10")
    links = links_of(tmp_path, timeout_s=60)
    await asyncio.gather(*(ping(links, node_of(server, ssh), f"n{number}") for number in range(24)))

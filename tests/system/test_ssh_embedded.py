"""The embedded SSH server, used by asyncssh and by OpenSSH's own client."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dasctl.adapters.embedded import Ready, Service, serve, serving
from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.errors import NodeUnreachable, OperationFailed, UsageError
from tests.contracts.shipping import standin_payload
from tests.system.sshd import SshSetting


def service_of(tmp_path: Path, ssh: SshSetting, *, options: str = "", max_sessions: int = 100) -> Service:
    keys = tmp_path / "authorized_keys"
    keys.write_text(f"# mine\n\n{options}{' ' if options else ''}{ssh.public}")
    folder = tmp_path / "node"
    folder.mkdir(exist_ok=True)
    return Service(folder=folder, authorized_keys=keys, host_key=ssh.host_key, max_sessions=max_sessions)


@asynccontextmanager
async def served(service: Service, ssh: SshSetting) -> AsyncIterator[Ready]:
    async with serving(service) as ready:
        ssh.know_port(ready.port)
        yield ready


async def client(ready: Ready, ssh: SshSetting, *words: str, send: bytes = b"") -> tuple[int, bytes, bytes]:
    """OpenSSH's own client."""
    process = await asyncio.create_subprocess_exec(
        *("ssh", "-F", str(ssh.config), "-p", str(ready.port), "-i", str(ssh.key), "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={ssh.known_hosts}", "127.0.0.1", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(send)
    assert process.returncode is not None
    return process.returncode, out, err


async def test_runs_commands_in_its_folder(tmp_path: Path, ssh: SshSetting) -> None:
    service = service_of(tmp_path, ssh)
    async with served(service, ssh) as ready:
        status, out, err = await client(ready, ssh, 'pwd; echo "$HOME"; echo oops >&2; exit 7')
    assert (status, out.decode().split(), err) == (7, [str(service.folder)] * 2, b"oops\n")


async def test_passes_input_output_and_its_end(tmp_path: Path, ssh: SshSetting) -> None:
    data = os.urandom(8 << 20)
    async with served(service_of(tmp_path, ssh), ssh) as ready:
        assert await client(ready, ssh, "cat", send=data) == (0, data, b"")


async def test_keeps_the_rest_of_the_output_for_a_slow_client(tmp_path: Path, ssh: SshSetting) -> None:
    links = SshLinks(tmp_path, {}, timeout_s=30)
    async with served(service_of(tmp_path, ssh), ssh) as ready:
        node = Node(host="127.0.0.1", port=ready.port, key=str(ssh.key))
        async with links.session("n1", node, "head -c 20000000 /dev/zero") as stream:
            await asyncio.sleep(2.5)
            received = 0
            while data := await stream.read(1 << 20):
                received += len(data)
            assert received == 20_000_000
            assert await stream.exit_status() == 0


async def test_refuses_all_but_commands(tmp_path: Path, ssh: SshSetting) -> None:
    async with served(service_of(tmp_path, ssh), ssh) as ready:
        status, _, err = await client(ready, ssh)
        assert status == 1
        assert b"commands only" in err
        status, _, err = await client(ready, ssh, "-s", "sftp")
        assert status != 0
        status, _, err = await client(
            ready, ssh, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "true"
        )
        assert status != 0
        status, _, err = await client(ready, ssh, "-W", "127.0.0.1:22")
        assert status != 0


async def test_forced_command_and_unknown_options(tmp_path: Path, ssh: SshSetting) -> None:
    service = service_of(tmp_path, ssh, options='restrict,command="echo forced"')
    async with served(service, ssh) as ready:
        assert (await client(ready, ssh, "echo mine"))[:2] == (0, b"forced\n")
    with pytest.raises(UsageError, match="option"):
        async with serving(service_of(tmp_path, ssh, options='expiry-time="20200101"')):
            pass


async def test_another_key_is_not_let_in(tmp_path: Path, ssh: SshSetting) -> None:
    lines: list[str] = []
    service = service_of(tmp_path, ssh)
    service.authorized_keys.write_text(Path(f"{ssh.other_key}.pub").read_text())
    logged = Service(
        folder=service.folder,
        authorized_keys=service.authorized_keys,
        host_key=service.host_key,
        on_line=lines.append,
    )
    async with served(logged, ssh) as ready:
        status, _, err = await client(ready, ssh, "true")
    assert status == 255
    assert b"Permission denied" in err
    assert any("not let in" in line for line in lines)


async def test_commands_end_with_their_channel_and_servers_do_not(tmp_path: Path, ssh: SshSetting) -> None:
    service = service_of(tmp_path, ssh)
    detach = "import os,time;os.fork() and os._exit(0);os.setsid();open('server','w').write(str(os.getpid()));time.sleep(60)"
    command = (
        f"{shlex.quote(sys.executable)} -c {shlex.quote(detach)} >/dev/null 2>&1 </dev/null; "
        "echo $$ > command; trap '' TERM; echo up; while :; do sleep 1; done"
    )
    links = SshLinks(tmp_path, {}, timeout_s=30)
    async with served(service, ssh) as ready:
        node = Node(host="127.0.0.1", port=ready.port, key=str(ssh.key))
        async with links.session("n1", node, command) as stream:
            assert await stream.read(100) == b"up\n"
        await gone(int((service.folder / "command").read_text()))
        server = int((service.folder / "server").read_text())
        os.kill(server, 0)
    os.kill(server, 0)
    os.kill(server, signal.SIGKILL)


async def gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_too_many_commands_are_refused(tmp_path: Path, ssh: SshSetting) -> None:
    async with served(service_of(tmp_path, ssh, max_sessions=1), ssh) as ready:
        node = Node(host="127.0.0.1", port=ready.port, key=str(ssh.key))
        links = SshLinks(tmp_path, {}, timeout_s=30, payload=standin_payload())
        async with links.open("n1", node) as link:
            await link.ask({"op": "ping"})
            with pytest.raises(NodeUnreachable, match="n2"):
                async with links.open("n2", node):
                    pass


async def test_makes_its_host_key_once(tmp_path: Path, ssh: SshSetting) -> None:
    first = service_of(tmp_path, ssh)
    service = Service(
        folder=first.folder, authorized_keys=first.authorized_keys, host_key=tmp_path / "new" / "host_key"
    )
    marks = set()
    for _ in range(2):
        async with serving(service) as ready:
            marks.add(ready.fingerprint)
    assert len(marks) == 1
    assert stat.S_IMODE(service.host_key.stat().st_mode) == 0o600


async def test_a_port_that_is_taken(tmp_path: Path, ssh: SshSetting) -> None:
    service = service_of(tmp_path, ssh)
    async with serving(service) as ready:
        again = Service(
            folder=service.folder,
            authorized_keys=service.authorized_keys,
            host_key=service.host_key,
            port=ready.port,
        )
        with pytest.raises(OperationFailed, match="address already in use"):
            async with serving(again):
                pass


async def test_stops_on_sigterm(tmp_path: Path, ssh: SshSetting) -> None:
    ready: list[Ready] = []

    def on_ready(said: Ready) -> None:
        ready.append(said)
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(30):
        await serve(service_of(tmp_path, ssh), on_ready=on_ready)
    assert ready[0].port > 0
    assert ready[0].fingerprint.startswith("SHA256:")

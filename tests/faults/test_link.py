"""Links that are cut, hang, lie and are interrupted: one error that names the node, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from dasctl.adapters.link import MAX_NOISE
from dasctl.adapters.local import LocalLinks
from dasctl.adapters.memory_links import Main, MemoryLinks
from dasctl.adapters.streams import Fault
from dasctl.core.domain import Node
from dasctl.errors import LinkLost, NodeError, NodeNotUsable, NodeTimeout, ProtocolError
from dasctl.remote import frames
from tests.contracts.standin import main as standin_main
from tests.system.conftest import node_of
from tests.system.sshd import Sshd, SshSetting

HERE = Node(host="here")
GREETING = b'\nDASCTL-LINK-1\n{"greeting":1,"python":[3,11,2]}\n'


def saying(data: bytes) -> Main:
    """A helper that says `data`, reads its input to the end, and ends."""

    def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
        stdout.write(data)
        stdout.flush()
        stdin.read()

    return main


async def contents() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield frames.encode({"content": "x"}, b"z" * 100)
    yield frames.encode({"end": True})


async def conversation(links: MemoryLinks, *, silence_s: float = 60.0) -> None:
    async with links.open("n1", HERE) as link:
        await link.ask({"op": "events", "count": 2}, silence_s=silence_s)
        await link.ask({"op": "drain"}, then=contents(), silence_s=silence_s)
    assert link.round_trips == 2


async def test_cut_after_every_byte_that_is_received() -> None:
    for count in range(1, 400):
        try:
            await conversation(MemoryLinks(main=standin_main, faults={"n1": Fault(cut_after_received=count)}))
        except LinkLost as error:
            assert "node n1" in str(error)
        else:
            assert count > 100
            return
    raise AssertionError("the conversation never came to its end")


async def test_cut_after_every_byte_that_is_sent() -> None:
    for count in range(0, 700, 3):
        try:
            await conversation(MemoryLinks(main=standin_main, faults={"n1": Fault(cut_after_sent=count)}))
        except LinkLost as error:
            assert "node n1" in str(error)
        else:
            assert count > 300
            return
    raise AssertionError("the conversation never came to its end")


@pytest.mark.parametrize("fault", [Fault(hang_after_received=count) for count in (1, 20, 100, 150)])
async def test_hang_while_receiving(fault: Fault) -> None:
    with pytest.raises(NodeTimeout, match="node n1"):
        await conversation(MemoryLinks(main=standin_main, faults={"n1": fault}), silence_s=0.2)


@pytest.mark.parametrize("fault", [Fault(hang_after_sent=count) for count in (0, 10, 50, 200)])
async def test_hang_while_sending(fault: Fault) -> None:
    with pytest.raises(NodeTimeout, match="node n1"):
        await conversation(MemoryLinks(main=standin_main, faults={"n1": fault}), silence_s=0.2)


async def test_slow_is_not_dead() -> None:
    await conversation(MemoryLinks(main=standin_main, faults={"n1": Fault(delay_s=0.05)}), silence_s=5)


async def test_a_node_that_takes_nothing_times_out() -> None:
    over = threading.Event()

    def deaf(stdin: BinaryIO, stdout: BinaryIO) -> None:
        stdout.write(GREETING)
        stdout.flush()
        over.wait(30)

    async with MemoryLinks(main=deaf).open("n1", HERE) as link:
        with pytest.raises(NodeTimeout, match=r"silent for 0.5 s"):
            await link.ask({"op": "drain"}, b"x" * (16 << 20), silence_s=0.5)
        over.set()


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        (b"", NodeNotUsable, "did not begin"),
        (b"hello\n", NodeNotUsable, "hello"),
        (b"\nDASCTL-LINK-1\nhello\n", ProtocolError, "not JSON"),
        (b"\nDASCTL-LINK-1\n[]\n", ProtocolError, "not an object"),
        (b'\nDASCTL-LINK-1\n{"hello":1}\n', ProtocolError, "another greeting"),
        (b'\nDASCTL-LINK-1\n{"greeting":1,"python":"3"}\n', ProtocolError, "another greeting"),
        (b'\nDASCTL-LINK-1\n{"greeting":2,"python":[3,11,2]}\n', ProtocolError, "protocol 2"),
        (b'\nDASCTL-LINK-1\n{"greeting":1,"python":[3,8,1]}\n', NodeNotUsable, r"3\.8\.1"),
        (GREETING + b'{"what":1}\n', ProtocolError, "neither event nor reply"),
        (GREETING + b'{"reply":"pong"}\n', ProtocolError, "answered 'pong' to 'ping'"),
        (GREETING + b'{"reply":"error"}\n', ProtocolError, "without a message"),
        (GREETING + b'{"reply":"ping","size":-1}\n', ProtocolError, "out of range"),
        (GREETING + b'{"reply":"ping","size":1000000000}\nabc', ProtocolError, "a body of"),
        (GREETING + b'{"reply":"pi', LinkLost, "in the middle"),
        (GREETING + b"x" * (frames.MAX_HEADER + 2), ProtocolError, "header line of more"),
        (b"bla bla\n" * (MAX_NOISE // 8 + 1), NodeNotUsable, "more than 64 KiB"),
    ],
)
async def test_lies(said: bytes, error: type[NodeError], told: str) -> None:
    def main(stdin: BinaryIO, stdout: BinaryIO) -> None:
        stdin.readline()
        stdout.write(said)
        stdout.flush()

    async with MemoryLinks(main=main).open("n1", HERE) as link:
        with pytest.raises(error, match=told):
            await link.ask({"op": "ping"})


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"Welcome\n",
        b"no newline at the end",
        b"DASCTL-LINK-1 \nx",
        b"\xff\0\n" * 20000,
    ],
)
async def test_noise_is_skipped(noise: bytes) -> None:
    main = saying(noise + GREETING + b'{"reply":"ping"}\n')
    async with MemoryLinks(main=main).open("n1", HERE) as link:
        await link.ask({"op": "ping"})
        assert link.greeting["python"] == [3, 11, 2]


async def test_python_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(NodeNotUsable, match="cannot be started"):
        async with LocalLinks(homes=tmp_path, python="/nowhere/python3").open("n1", HERE):
            pass


@pytest.mark.parametrize("moment", ["connecting", "asking"])
def test_ctrl_c_leaves_no_complaints(
    tmp_path: Path, sshd_factory: Callable[..., Sshd], ssh: SshSetting, moment: str
) -> None:
    server = sshd_factory()
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from dasctl.adapters.ssh import SshLinks
        from dasctl.core.domain import Node
        from tests.contracts.shipping import standin_payload

        async def one(links, number):
            node = Node(host="127.0.0.1", port=int(sys.argv[2]), user=sys.argv[3], key=sys.argv[4])
            async with links.open(f"n{number}", node) as link:
                await link.ask({"op": "ping"})
                print("asking", flush=True)
                await link.ask({"op": "silent", "seconds": 60})

        async def main():
            links = SshLinks(Path(sys.argv[1]), {}, timeout_s=60, payload=standin_payload())
            print("connecting", flush=True)
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    group.create_task(one(links, number))

        try:
            asyncio.run(main(), debug=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )
    node = node_of(server, ssh)
    if moment == "connecting":
        server.hang()
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            program,
            str(tmp_path),
            str(node.port),
            str(node.user),
            str(node.key),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while moment not in process.stdout.readline():
        assert process.poll() is None, process.communicate()
    if moment == "connecting":
        threading.Event().wait(1.0)  # until the connections are made and wait for an answer
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    server.resume()
    assert "interrupted" in out
    assert [line for line in err.splitlines() if "took" not in line] == []

"""One suite for all implementations of ports.Links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.embedded import Service, serving
from dasctl.adapters.local import LocalLinks
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.errors import LinkLost, NodeNotUsable, NodeTimeout, ProtocolError
from dasctl.operations.ports import Links
from dasctl.remote import frames
from tests.contracts.shipping import standin_payload
from tests.contracts.standin import main as standin_main
from tests.system.sshd import SshSetting

PIECE = 256 << 10
Subject = tuple[Links, Node]


@pytest.fixture(params=["memory", "local", "openssh", "embedded"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Links, and a node that they can open."""
    match request.param:
        case "memory":
            yield MemoryLinks(main=standin_main), Node(host="here")
        case "local":
            yield LocalLinks(homes=tmp_path, payload=standin_payload()), Node(host="here")
        case "openssh":
            nodes = request.getfixturevalue("sshd_node_factory")(1)
            yield SshLinks(tmp_path / "shop", nodes, timeout_s=30.0, payload=standin_payload()), nodes["n1"]
        case "embedded":
            async with embedded_node(tmp_path, request.getfixturevalue("ssh")) as node:
                yield SshLinks(tmp_path / "shop", {}, timeout_s=30.0, payload=standin_payload()), node


@asynccontextmanager
async def embedded_node(folder: Path, ssh: SshSetting) -> AsyncIterator[Node]:
    keys = folder / "authorized_keys"
    keys.write_text(ssh.public)
    home = folder / "node"
    home.mkdir()
    service = Service(folder=home, authorized_keys=keys, host_key=ssh.host_key)
    async with serving(service) as ready:
        ssh.know_port(ready.port)
        yield Node(host="127.0.0.1", port=ready.port, key=str(ssh.key))


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield frames.encode({"content": "x"}, b"z" * PIECE)
    yield frames.encode({"end": True})


async def test_answers_with_the_body_it_was_sent(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        reply = await link.ask({"op": "ping"}, b"\0\n\xff" * 1000)
        assert reply.body == b"\0\n\xff" * 1000
        assert link.greeting["python"] >= [3, 9]


async def test_counts_round_trips_and_bytes(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        assert link.round_trips == 0
        await link.ask({"op": "ping"})
        before = link.bytes_sent
        await link.ask({"op": "ping"}, b"x" * 1000)
        assert link.round_trips == 2
        assert 1000 < link.bytes_sent - before < 1100


async def test_has_no_greeting_before_the_first_request(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        with pytest.raises(RuntimeError):
            _ = link.greeting


async def test_hands_out_events_in_order(subject: Subject) -> None:
    links, node = subject
    events: list[dict[str, Any]] = []
    async with links.open("n1", node) as link:
        await link.ask({"op": "events", "count": 300}, on_event=events.append)
    assert [event["number"] for event in events] == list(range(300))


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_streams_contents(subject: Subject, count: int) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        reply = await link.ask({"op": "drain"}, then=pieces(count))
        assert reply.header["received"] == count * PIECE


async def test_does_not_stand_still_when_both_sides_talk_at_once(subject: Subject) -> None:
    links, node = subject
    seen = 0

    def on_event(header: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1

    async with links.open("n1", node) as link:
        await link.ask({"op": "drain", "echo": True}, then=pieces(100), on_event=on_event)
    assert seen == 100


async def test_sends_the_rest_after_an_early_reply(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        await link.ask({"op": "early"}, then=pieces(60))
        assert (await link.ask({"op": "ping"}, b"still in step")).body == b"still in step"


async def test_large_request(subject: Subject) -> None:
    links, node = subject
    body = bytes(range(256)) * (16 << 10)
    async with links.open("n1", node) as link:
        assert (await link.ask({"op": "ping"}, body)).body == body


async def test_an_error_reply_is_an_error_and_the_link_goes_on(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        with pytest.raises(NodeNotUsable, match=r"n1.*the disk is full") as caught:
            await link.ask({"op": "error"})
        assert caught.value.hint == "make room"
        await link.ask({"op": "ping"})


async def test_another_reply_is_a_protocol_error(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        with pytest.raises(ProtocolError, match="n1"):
            await link.ask({"op": "other"})


async def test_nonsense_is_a_protocol_error_for_good(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        for _ in range(2):
            with pytest.raises(ProtocolError, match=r"n1.*not JSON"):
                await link.ask({"op": "nonsense"})


async def test_silence_is_a_timeout(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        await link.ask({"op": "ping"})
        with pytest.raises(NodeTimeout, match=r"n1.*silent for 0.3 s"):
            await link.ask({"op": "silent", "seconds": 2}, silence_s=0.3)


async def test_beats_keep_a_slow_request_alive(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        await link.ask({"op": "ping"})
        await link.ask({"op": "slow", "beats": 8, "seconds": 0.3}, silence_s=1.5)


async def test_slow_frames_of_our_own_are_not_the_nodes_silence(subject: Subject) -> None:
    links, node = subject

    async def slow() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.0)
        yield frames.encode({"end": True})

    async with links.open("n1", node) as link:
        await link.ask({"op": "ping"})
        await link.ask({"op": "drain"}, then=slow(), silence_s=0.5)


async def test_a_helper_that_ends_is_a_lost_link(subject: Subject) -> None:
    links, node = subject
    async with links.open("n1", node) as link:
        await link.ask({"op": "ping"})
        with pytest.raises(LinkLost, match="n1") as caught:
            await link.ask({"op": "complain"})
        if not isinstance(links, MemoryLinks):
            assert "exit status 3" in str(caught.value)
            assert "it hurts" in str(caught.value)
        with pytest.raises(LinkLost):
            await link.ask({"op": "ping"})


async def test_errors_of_the_callers_frames_pass_through(subject: Subject) -> None:
    links, node = subject

    async def failing() -> AsyncIterator[bytes]:
        yield frames.encode({"content": "x"}, b"z")
        raise KeyError("mine")

    async with links.open("n1", node) as link:
        with pytest.raises(KeyError, match="mine"):
            await link.ask({"op": "drain"}, then=failing())
        with pytest.raises(LinkLost):
            await link.ask({"op": "ping"})


async def test_can_be_cancelled_at_any_moment(subject: Subject) -> None:
    links, node = subject

    async def whole() -> None:
        async with links.open("n1", node) as link:
            await link.ask({"op": "drain"}, then=pieces(50))

    for after in (0.0, 0.001, 0.01, 0.03, 0.06, 0.1):
        task = asyncio.create_task(whole())
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await whole()


async def test_many_at_once(subject: Subject) -> None:
    links, node = subject

    async def one(number: int) -> bytes:
        async with links.open(f"n{number}", node) as link:
            return (await link.ask({"op": "ping"}, b"%d" % number)).body

    assert await asyncio.gather(*(one(n) for n in range(20))) == [b"%d" % n for n in range(20)]

"""Data packets made many at a time: every byte arrives, in order, at a real OpenSSH server, whatever happens to the keys."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Any, cast

import asyncssh
import pytest

from dasctl.adapters.ssh_packets import AHEAD, quicken
from dasctl.adapters.ssh_stream import SessionStream
from tests.system.sshd import Sshd, SshSetting

PACKET = 32 << 10
SIZE = 12 << 20  # bytes: several times what a window holds
LIMIT_S = 60.0


class Silent:
    """A channel in which nothing is found that is known."""


async def _sent(server: Sshd, key: str, pieces: list[bytes], **options: Any) -> tuple[str, int]:
    """What the server's sha256sum says of `pieces`, and how many packets the connection has counted since they began."""
    async with asyncio.timeout(LIMIT_S):
        async with asyncssh.connect(
            "127.0.0.1", server.port, username=server.user, client_keys=[key], known_hosts=None,
            config=None, agent_path=None, **options,
        ) as connection:  # fmt: skip
            stream = SessionStream()
            channel, _ = await connection.create_session(
                lambda: cast(Any, stream), "sha256sum", encoding=None, window=1 << 20, max_pktsize=PACKET
            )
            before = cast(Any, connection)._send_seq
            for piece in pieces:
                stream.write(piece)
                await stream.drain()
            channel.write_eof()
            said = b""
            while data := await stream.read(1 << 10):
                said += data
            return said.decode().split()[0], cast(Any, connection)._send_seq - before


def _pieces(size: int) -> list[bytes]:
    """Random bytes in cuts that lie before, on and behind the borders of packets and blocks."""
    chance, pieces, left = random.Random(7), [], size
    cuts = [1, 2, 15, 16, 17, PACKET - 1, PACKET, PACKET + 1, 2 * PACKET, 64 << 10, 300_001]
    while left > 0:
        piece = chance.randbytes(min(chance.choice(cuts), left))
        left -= len(piece)
        pieces.append(piece)
    return pieces


def _digest(pieces: list[bytes]) -> str:
    return hashlib.sha256(b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"])
def test_data_arrives_in_as_many_packets_as_it_needs(
    cipher: str, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    pieces = [random.Random(3).randbytes(64 << 10)] * (SIZE // (64 << 10))
    said, packets = asyncio.run(_sent(sshd_factory("n1"), str(ssh.key), pieces, encryption_algs=[cipher]))
    assert said == _digest(pieces)
    # One more for each time that the window ends within a packet; asyncssh itself would send two for each.
    assert SIZE // PACKET <= packets < 1.7 * SIZE // PACKET


def test_every_cut_arrives(ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> None:
    pieces = _pieces(SIZE // 2)
    said, _ = asyncio.run(
        _sent(sshd_factory("n1"), str(ssh.key), pieces, encryption_algs=["aes128-gcm@openssh.com"])
    )
    assert said == _digest(pieces)


def test_keys_are_exchanged_anew_on_the_way_by_either_side(
    ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    pieces = _pieces(SIZE // 2)
    ours, theirs = sshd_factory("n1"), sshd_factory("n2", RekeyLimit="1M")
    for server, limit in ((ours, 1 << 20), (theirs, 1 << 30)):
        said, _ = asyncio.run(
            _sent(server, str(ssh.key), pieces, encryption_algs=["aes128-gcm@openssh.com"], rekey_bytes=limit)
        )
        assert said == _digest(pieces), server.folder.name


@pytest.mark.parametrize("cipher", ["chacha20-poly1305@openssh.com", "aes128-ctr"])
def test_other_ciphers_are_left_to_asyncssh(
    cipher: str, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    pieces = _pieces(SIZE // 8)
    said, _ = asyncio.run(_sent(sshd_factory("n1"), str(ssh.key), pieces, encryption_algs=[cipher]))
    assert said == _digest(pieces)


@pytest.mark.parametrize("far", [False, True])
def test_less_is_under_way_on_a_short_line(
    far: bool, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    """What it has not taken yet costs sshd more, the more it is; a long line needs all that may be under way."""
    server, data = sshd_factory("n1"), random.Random(5).randbytes(4 << 20)

    async def sent() -> tuple[int, str]:
        async with asyncssh.connect(
            "127.0.0.1", server.port, username=server.user, client_keys=[str(ssh.key)], known_hosts=None,
            config=None, agent_path=None, encryption_algs=["aes128-gcm@openssh.com"],
        ) as connection:  # fmt: skip
            stream = SessionStream(far=far)
            channel, _ = await connection.create_session(
                lambda: cast(Any, stream), "sha256sum", encoding=None, max_pktsize=PACKET
            )
            window = cast(Any, channel)._send_window
            stream.write(data)
            least = window
            for _ in range(20):
                await asyncio.sleep(0.02)
                least = min(least, cast(Any, channel)._send_window)
            channel.write_eof()
            said = b""
            while more := await stream.read(1 << 10):
                said += more
            return window - least, said.decode().split()[0]

    async def limited() -> tuple[int, str]:
        async with asyncio.timeout(LIMIT_S):
            return await sent()

    ahead, said = asyncio.run(limited())
    assert said == _digest([data])
    assert (ahead > AHEAD) == far


def test_a_channel_that_is_made_otherwise_stays_as_it_is() -> None:
    assert not quicken(cast(Any, Silent()))

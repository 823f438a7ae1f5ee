"""What a channel sends, as packets made many at a time: one write to the connection's socket for all that fits its window.

What lives here: the form of a data packet under AES-GCM, and when asyncssh has to make it itself. What must not: sessions,
back-pressure.

    asyncssh makes one packet at a time, copies it seven times, writes it with a system call of its own, and puts an empty
    packet before each, which protects ciphers in CBC mode alone. To eight nodes that was more work than all the rest.
    It also holds back what would only wait at the far side.
    What is used of asyncssh here has no public name: where any of it is missing or not as expected, asyncssh sends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncssh

_DATA = 94  # SSH_MSG_CHANNEL_DATA, RFC 4254
_BLOCK = 16  # bytes: what a packet under AES-GCM is a multiple of, without its length (RFC 5647)
_LEAST_PADDING = 4  # bytes, RFC 4253
_HEAD = 10  # bytes before the data: how long the padding is, the kind of packet, the channel, how long the data is
# Bytes under way on a short line, of the 2 MiB that OpenSSH lets us send: what a helper that is busy has not taken yet lies
# in a buffer of sshd's that is copied as a whole with each packet that comes. It widens the window after each 96 KiB that
# were taken (channel_check_window); other servers may wait for half of the window, or for all of it.
AHEAD = 1 << 20
_WIDENS_SOON = "SSH-2.0-OpenSSH_"
_SEQUENCE = 0xFFFFFFFF

_OF_CHANNEL = (
    "_conn", "_send_buf", "_send_buf_len", "_send_chan", "_send_pktsize", "_send_window", "_flush_send_buf",
)  # fmt: skip
_OF_CONNECTION = (
    "_auth_complete", "_compressor", "_kex_complete", "_rekey_bytes", "_rekey_bytes_sent", "_rekey_seconds",
    "_rekey_time", "_send_encryption", "_send_enchdrlen", "_send_blocksize", "_send_seq", "_transport",
)  # fmt: skip


def quicken(channel: asyncssh.SSHClientChannel[bytes], *, far: bool = False) -> bool:
    """Let `channel` send its data in the quick way from now on; False where it cannot be told how. `far`: the line is long,
    and all that the far side allows may be under way.
    """
    known = cast(Any, channel)
    if not all(hasattr(known, name) for name in _OF_CHANNEL):
        return False
    if not all(hasattr(known._conn, name) for name in _OF_CONNECTION):
        return False
    known._flush_send_buf = _Flush(known, far=far)
    return True


class _Flush:
    """Called by asyncssh whenever there is something to send, or leave to send it."""

    def __init__(self, channel: Any, *, far: bool) -> None:
        self._channel = channel
        self._all = far or not str(channel.get_extra_info("server_version") or "").startswith(_WIDENS_SOON)
        self._widest = 0  # the window before anything was under way
        self._rest: Callable[[], None] = channel._flush_send_buf
        self._encryption: object = None  # whose packets `_sealed` makes; others after each exchange of keys
        self._cipher: Any = None
        self._sealed: Callable[[bytes, bytes, bytes], bytes] | None = None

    def __call__(self) -> None:
        channel = self._channel
        held_back = self._held_back(channel._send_window)
        channel._send_window -= held_back
        try:
            if channel._send_buf and channel._send_window and self._may(channel._conn):
                self._send(channel, channel._conn)
            self._rest()  # what was not for us; and what follows when all is sent
        finally:
            channel._send_window += held_back

    def _held_back(self, window: int) -> int:
        """How much of the window is not used now; each time the far side widens it again, we are called."""
        self._widest = max(self._widest, window)
        return 0 if self._all else min(window, max(0, self._widest - AHEAD))

    def _may(self, connection: Any) -> bool:
        """Whether data may be sent now, under a cipher that is known here, with nothing else due before it."""
        return (
            connection is not None
            and connection._transport is not None
            and connection._auth_complete
            and connection._kex_complete
            and connection._compressor is None
            and (connection._send_enchdrlen, connection._send_blocksize) == (1, _BLOCK)
            and connection._rekey_bytes_sent < connection._rekey_bytes
            and not (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
            and self._knows(connection._send_encryption)
        )

    def _knows(self, encryption: Any) -> bool:
        if encryption is not self._encryption:
            self._encryption, self._sealed = encryption, None
            cipher: Any = getattr(encryption, "_cipher", None)
            if type(cipher).__name__ == "GCMCipher" and hasattr(cipher, "_update_iv"):
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM

                self._cipher, self._sealed = cipher, AESGCM(cipher._key).encrypt
        return self._sealed is not None

    def _send(self, channel: Any, connection: Any) -> None:
        packets: list[bytes] = []
        try:
            while channel._send_buf and channel._send_window and channel._send_buf[0][1] is None:
                self._take(channel, connection, packets)
        finally:
            connection._send(b"".join(packets))  # their numbers are used up

    def _take(self, channel: Any, connection: Any, packets: list[bytes]) -> None:
        """Packets of the first buffer, as far as the window reaches."""
        buffer = channel._send_buf[0][0]
        size = min(len(buffer), channel._send_window)
        kind = bytes((_DATA,)) + channel._send_chan.to_bytes(4, "big")
        with memoryview(buffer) as view:
            for start in range(0, size, channel._send_pktsize):
                data = view[start : min(start + channel._send_pktsize, size)]
                self._add(packets, connection, kind, data)
                data.release()
        if size == len(buffer):
            del channel._send_buf[0]
        else:
            del buffer[:size]
        channel._send_buf_len -= size
        channel._send_window -= size

    def _add(self, packets: list[bytes], connection: Any, kind: bytes, data: memoryview) -> None:
        assert self._sealed is not None
        padding = -(_HEAD + len(data)) % _BLOCK
        if padding < _LEAST_PADDING:
            padding += _BLOCK
        size = _HEAD + len(data) + padding
        head = size.to_bytes(4, "big")
        plain = b"".join((bytes((padding,)), kind, len(data).to_bytes(4, "big"), data, os.urandom(padding)))
        packets += (head, self._sealed(self._cipher._iv, plain, head))
        self._cipher._update_iv()
        connection._send_seq = (connection._send_seq + 1) & _SEQUENCE
        connection._rekey_bytes_sent += size

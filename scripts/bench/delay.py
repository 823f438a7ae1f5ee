"""A proxy that makes a line longer: what goes in comes out some milliseconds later, in both directions.

It delays and does not narrow: every piece waits for itself, none for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
from collections.abc import Iterator

from measure import leave_alone

_PIECE = 256 << 10  # bytes
_AHEAD = 64 << 20  # bytes under way in one direction of one connection


@contextlib.contextmanager
def delayed(port: int, round_trip_ms: float) -> Iterator[int]:
    """A port of this machine that leads to `port` and takes so much longer there and back."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listening:
        process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listening, port, round_trip_ms / 2000), daemon=True
        )
        process.start()
        assert process.pid is not None
        leave_alone(process.pid)
        try:
            yield listening.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def _serve(listening: socket.socket, port: int, delay_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=_AHEAD)
            await asyncio.gather(_pass(reader, far_writer, delay_s), _pass(far_reader, writer, delay_s))

    async def serve() -> None:
        server = await asyncio.start_server(accept, sock=listening, limit=_AHEAD)
        await server.serve_forever()

    asyncio.run(serve())


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """All bytes of one direction, each `delay_s` after it came."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD // _PIECE)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    async def take() -> None:
        data = b"."
        while data:
            try:
                data = await reader.read(_PIECE)
            except OSError:
                data = b""
            await under_way.put((loop.time() + delay_s, data))

    with contextlib.suppress(OSError):
        await asyncio.gather(take(), deliver())

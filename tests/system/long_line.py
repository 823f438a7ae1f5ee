"""A proxy that makes a line longer: what goes in comes out some time later, in both directions. It does not narrow it.

A process of its own (`python long_line.py PORT SECONDS`, which prints its port), so that the line costs the test nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PIECE = 256 << 10  # bytes
_AHEAD = 64 << 20  # bytes under way in one direction


@contextmanager
def long_line(port: int, round_trip_s: float) -> Iterator[int]:
    """A port of this machine that leads to `port`; there and back takes so much longer."""
    command = [sys.executable, str(Path(__file__)), str(port), str(round_trip_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _serve(port: int, round_trip_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=_AHEAD)
            await asyncio.gather(
                _pass(reader, far_writer, round_trip_s / 2), _pass(far_reader, writer, round_trip_s / 2)
            )

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_AHEAD)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Every piece waits for itself, none for another."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"."
        while data:
            try:
                data = await reader.read(_PIECE)
            except OSError:
                data = b""
            waiting.put_nowait((loop.time() + delay_s, data))

    reading = asyncio.ensure_future(read())
    try:
        with contextlib.suppress(OSError):
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
    finally:
        reading.cancel()
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))

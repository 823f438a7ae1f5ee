"""What each node's python is, remembered from its greetings, so that it is sent what it runs fastest.

What lives here: `.dasctl/nodes.json` ({node: magic}). What must not: what is sent (`helper_pack.py`), links. The file is a
cache: a node that is not in it, or wrongly, costs time and nothing else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters.beside import write_beside
from dasctl.adapters.helper_pack import HelperPack, Shipment, helper_pack, kept_pack

if TYPE_CHECKING:
    import asyncio

    from dasctl.adapters.link import StreamLink

_LONGEST = 100  # characters of a magic number with its interpreter; nodes say what they like


class Helpers:
    """The helper for each node of the domain whose own folder is `own`. Nothing is read before the first is wanted."""

    def __init__(self, own: Path) -> None:
        self._own = own
        self._pack: HelperPack | None = None
        self._magics: dict[str, str] | None = None
        self._told: dict[str, str] = {}
        self._making: asyncio.Future[HelperPack] | None = None

    async def ready(self) -> None:
        """Have the helper at hand. Where it has to be made, for a second or more, that is done in a thread: time limits of
        others run meanwhile.
        """
        if self._pack is not None:
            return
        import asyncio

        files = self._own / "helper", _users_cache()
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.get_loop() is not loop:
            self._pack = kept_pack(*files)
            if self._pack is not None:
                return
            self._making = asyncio.ensure_future(asyncio.to_thread(helper_pack, *files))
        self._pack = await asyncio.shield(self._making)

    def shipment(self, node: str) -> Shipment:
        """What to send to `node`, for one link."""
        if self._pack is None:
            self._pack = helper_pack(self._own / "helper", _users_cache())
        if self._magics is None:
            self._magics = self._read()
        return Shipment(self._pack, self._told.get(node) or self._magics.get(node))

    def heard(self, node: str, link: StreamLink) -> None:
        """Learn from the greeting of `node`, if it came."""
        magic = link.greeting.get("magic") if link.has_spoken else None
        if isinstance(magic, str) and len(magic) <= _LONGEST and magic.isascii():
            self._told[node] = magic

    def keep(self) -> None:
        """Write down what was learned, if anything was; where that cannot be, it is learned again."""
        known = self._magics or {}
        if all(known.get(node) == magic for node, magic in self._told.items()):
            return
        self._magics = {**self._read(), **self._told}
        data = json.dumps(self._magics, indent=0, sort_keys=True).encode("ascii")
        try:
            write_beside(os.fsencode(self._own / "nodes.json"), data, mode=0o600)
        except OSError:
            pass

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads((self._own / "nodes.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _users_cache() -> Path | None:
    """A helper's pack that all domains of this user share."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base, "dasctl", "helper") if os.path.isabs(base) else None  # noqa: PTH117

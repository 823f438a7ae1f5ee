"""What shortens the start of a command that connects: measured, and without effect on what it does.

What lives here: the quick import of asyncssh. What must not: anything else.
"""

from __future__ import annotations

import gc
import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")
_UNUSED = ("asyncssh.sftp", "asyncssh.scp")  # 25 ms
# X.509 (35 ms with cryptography's half) and the MACs of a library that is hardly ever there: asyncssh goes without them.
_OPTIONAL = ("asyncssh.crypto.x509", "asyncssh.crypto.umac")


class _StandIn(ModuleType):
    """A module in which every name is a class of its own, which nothing makes objects of."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        found = type(name, (), {})
        setattr(self, name, found)
        return found


def start_lean() -> None:
    """Let this process import asyncio, msgspec and asyncssh without what a client of ours never uses: 60 ms.

    For processes that are one command and serve nothing: what is left out stays out for as long as the process lives.
    """
    if "asyncio" in sys.modules:
        return
    with _in_place_of({"ssl": None}):
        import asyncio  # noqa: F401
    lean_msgspec()
    sys.modules.update({name: _StandIn(name) for name in _UNUSED})
    _absent(_OPTIONAL)


def lean_msgspec() -> None:
    """Let this process import msgspec without what domains and indexes have no use for."""
    if "msgspec" in sys.modules:
        return
    # 3 ms, for what typing has as well since 3.11; 5 ms, for types of values that no file of ours has.
    with _in_place_of({"typing_extensions": None, "uuid": _no_uuids(), "decimal": _StandIn("decimal")}):
        import msgspec  # noqa: F401


def _no_uuids() -> ModuleType:
    """What msgspec takes of `uuid`."""
    module = _StandIn("uuid")
    module.SafeUUID.unknown = None  # type: ignore[attr-defined]
    return module


def _absent(names: tuple[str, ...]) -> None:
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(dict.fromkeys(names))


@contextmanager
def _in_place_of(others: dict[str, ModuleType | None]) -> Iterator[None]:
    """Let imports find `others` (None: nothing) under these names, unless what they mean is there already."""
    ours = {name: module for name, module in others.items() if name not in sys.modules}
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del modules[name]


def import_asyncssh() -> None:
    """Import asyncssh without the searches for optional libraries that run gcc and ldconfig: 30 ms."""
    if "asyncssh" in sys.modules:
        return
    lean = isinstance(sys.modules.get(_UNUSED[0]), _StandIn)
    # What imports made stays, and the collector need not walk it: otherwise it does so in the middle of this one, for 25 ms.
    gc.freeze()
    # All that asyncssh takes of it is `Self`.
    with _libraries_found_by_name(lean=lean), _in_place_of({"typing_extensions": typing} if lean else {}):
        import asyncssh  # noqa: F401
    gc.freeze()


@contextmanager
def _libraries_found_by_name(*, lean: bool) -> Iterator[None]:
    import ctypes.util  # 10 ms

    thorough = ctypes.util.find_library

    def find(name: str) -> str | None:
        return None if lean or not _may_be_installed(name) else thorough(name)

    ctypes.util.find_library = find
    try:
        yield
    finally:
        ctypes.util.find_library = thorough


def _may_be_installed(name: str) -> bool:
    """Whether a file of that library lies where the linker looks; multiarch folders are one level below."""
    pattern = f"lib{name}.*"
    return any(
        next(folder.glob(pattern), None) is not None
        for root in map(Path, _LIBRARY_FOLDERS)
        for folder in (root, *root.glob("*-linux-gnu*"))
    )

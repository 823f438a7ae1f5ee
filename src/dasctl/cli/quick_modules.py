"""Modules of the standard library that are imported when something of them is used, and not when somebody names them: 25 ms.

What lives here: that. What must not: anything that who imports them could notice, but the moment at which they are executed.

    dataclasses brings inspect, with ast, dis and tokenize, for the text of a class that says nothing of itself; pathlib
    brings urllib.parse and ipaddress for `as_uri`; asyncio brings logging and traceback for faults. A synchronisation uses
    none of that.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

# Those that the ones who import them at the start ask for nothing while they are imported themselves.
_LATE = (
    "asyncio.sslproto", "asyncio.staggered", "base64", "fnmatch", "inspect", "linecache", "locale", "msgspec.inspect",
    "msgspec.toml", "msgspec.yaml", "ntpath", "pkgutil", "platform", "shlex", "shutil", "tempfile", "textwrap", "traceback",
)  # fmt: skip
_ALOUD = frozenset({"debug", "info"})  # what a logger that nobody has configured keeps to itself
_lock = _thread.RLock()


def import_late() -> None:
    """Let modules that are imported from now on find these ones, unless they are there already.

    For processes that are one command.
    """
    for name in _LATE:
        _put(_Late(name))
    _put(_Late("urllib.parse", functions=("quote_from_bytes",)))
    _put(_LateLogging())


def _put(late: _Late) -> None:
    name = late.__name__
    if name not in sys.modules:
        sys.modules[name] = late
        package, _, last = name.rpartition(".")
        if package == "urllib":  # an empty package; others import their modules themselves
            setattr(import_module(package), last, late)


class _Late(ModuleType):
    """A module that is imported when it is asked for anything. `functions`: of these, when they are called."""

    is_package = False

    def __init__(self, name: str, functions: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        for each in functions:
            setattr(self, each, _called_late(self, each))

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and not self.is_package:  # `from NAME import …` asks for it
            raise AttributeError(name)
        return getattr(_real(self), name)

    def imported(self, module: ModuleType) -> None:
        """What is left to be done when `module` has taken its place."""


def _called_late(late: _Late, name: str) -> Callable[..., Any]:
    def function(*values: Any, **named: Any) -> Any:
        return getattr(_real(late), name)(*values, **named)

    return function


def _real(late: _Late) -> ModuleType:
    """The module itself, which takes its place; whoever has `late` goes on with it."""
    name = late.__name__
    with _lock:
        first = sys.modules.get(name) is late
        if first:
            del sys.modules[name]
        module = import_module(name)
        if first:
            late.imported(module)
    return module


class _LateLogging(_Late):
    """`logging`, of which everybody wants a logger at once."""

    is_package = True
    DEBUG = 10

    def __init__(self) -> None:
        super().__init__("logging")
        self.levels: dict[str | None, int | str] = {}

    def getLogger(self, name: str | None = None) -> Any:
        """As `logging.getLogger`."""
        return _LateLogger(self, name) if self.is_late() else _real(self).getLogger(name)

    def is_late(self) -> bool:
        """Whether nobody has needed it yet."""
        return sys.modules.get("logging") is self

    def imported(self, module: ModuleType) -> None:
        for name, level in self.levels.items():
            module.getLogger(name).setLevel(level)


class _LateLogger:
    """A logger. While nobody has imported logging, nobody can have said that he wants to hear its details."""

    def __init__(self, late: _LateLogging, name: str | None) -> None:
        self._late = late
        self._name = name

    def setLevel(self, level: int | str) -> None:
        """As a logger's."""
        if self._late.is_late():
            self._late.levels[self._name] = level
        else:
            _real(self._late).getLogger(self._name).setLevel(level)

    def __getattr__(self, name: str) -> Any:
        if name in _ALOUD and self._late.is_late():
            return _unheard
        return getattr(_real(self._late).getLogger(self._name), name)


def _unheard(*values: Any, **named: Any) -> None:
    """Nobody listens."""

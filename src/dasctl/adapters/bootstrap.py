"""Packs the helper (`dasctl/remote/*.py`) so that a stock python3 can run it from its standard input.

What lives here: the command line, the first program that reads the rest, the pack. What must not: links, SSH.

The pack has two parts: code objects compiled by this interpreter, used by a node whose python has the same
magic number (no compiling: the start is faster), and the sources, used by all others and for tracebacks.
"""

from __future__ import annotations

import importlib.util
import marshal
import pkgutil
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from types import CodeType
from typing import cast

# One line that sh, bash, dash, csh, tcsh, fish and zsh pass unharmed between single quotes.
PRELUDE = "import sys;i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
COMMAND = f"exec python3 -I -S -X utf8 -c '{PRELUDE}'"

_COMPRESSION = 3  # zlib's level: 6 saves 7 % of the bytes and takes three times as long, at each command

# Valid for every python3, so that one that is too old can say so. `_pack` (code size, source size, magic),
# `_names` and `_packages` are put in front. Imports nothing beyond what python3 has at its start but zlib, marshal.
_FIRST_PROGRAM = """
def _too_old(stream):
    v = sys.version_info
    text = "{\\"greeting\\":1,\\"python\\":[%d,%d,%d],\\"error\\":\\"too old\\"}\\n" % (v[0], v[1], v[2])
    stream.write(("\\nDASCTL-LINK-1\\n" + text).encode("ascii"))
    stream.flush()


def _start(stdin, stdout):
    import marshal
    import zlib

    external = sys.modules.get("_frozen_importlib_external")
    magic = getattr(external, "MAGIC_NUMBER", b"").hex() + "-" + str(sys.implementation.cache_tag)
    code, sources = stdin.read(_pack[0]), stdin.read(_pack[1])
    codes = marshal.loads(zlib.decompress(code)) if magic == _pack[2] else {}
    Spec = type(sys.__spec__) if sys.__spec__ else type(sys.__loader__.find_spec("sys"))

    class Pack:
        def __init__(self):
            self._sources = None

        def find_spec(self, name, path=None, target=None):
            if name not in _names:
                return None
            spec = Spec(name, self, origin=_names[name], is_package=name in _packages)
            spec.has_location = True
            return spec

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            exec(self.get_code(module.__spec__.name), module.__dict__)

        def get_code(self, name):
            if name in codes:
                return codes[name]
            return compile(self.get_source(name), _names[name], "exec", dont_inherit=True)

        def get_source(self, name):
            if self._sources is None:
                self._sources = marshal.loads(zlib.decompress(sources))
            return self._sources[name].decode("utf-8")

    sys.meta_path.insert(0, Pack())
    from dasctl.remote.main import main

    return main(stdin, stdout)


if sys.version_info < (3, 9):
    _too_old(sys.stdout.buffer)
else:
    sys.exit(_start(i, sys.stdout.buffer))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the helper. `origin` is the file name that tracebacks on the node show."""

    name: str
    source: bytes
    code: CodeType | None
    is_package: bool
    origin: str


@cache
def payload() -> bytes:
    """What goes to standard input before the first request; the same for all nodes of this process."""
    return pack(helper_modules())


def pack(modules: tuple[Module, ...]) -> bytes:
    """The payload for `modules`, one of which is `dasctl.remote.main`."""
    codes = {module.name: module.code for module in modules if module.code is not None}
    code = zlib.compress(marshal.dumps(codes), _COMPRESSION)
    sources = zlib.compress(marshal.dumps({m.name: m.source for m in modules}, 2), _COMPRESSION)
    names = {m.name: m.origin for m in modules}
    packages = tuple(m.name for m in modules if m.is_package)
    head = (
        f"import sys\n_pack = ({len(code)}, {len(sources)}, {_magic()!r})\n"
        f"_names = {names!r}\n_packages = {packages!r}\n"
    )
    program = (head + _FIRST_PROGRAM).encode("ascii")
    return b"%d\n" % len(program) + program + code + sources


def helper_modules(*, compiled: bool = True) -> tuple[Module, ...]:
    """The helper's modules, read through their loaders (files or a zip). `dasctl` itself is empty there."""
    root = Module(name="dasctl", source=b"", code=None, is_package=True, origin="dasctl/__init__.py")
    remote = import_module("dasctl.remote")
    names = [
        "dasctl.remote",
        *sorted(f"dasctl.remote.{m.name}" for m in pkgutil.iter_modules(remote.__path__)),
    ]
    return (root, *(_module(name, compiled=compiled) for name in names))


def _module(name: str, *, compiled: bool) -> Module:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, name
    loader = cast(InspectLoader, spec.loader)  # of files and of zips alike, though the latter does not say so
    is_package = spec.submodule_search_locations is not None
    origin = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    # get_code uses this machine's __pycache__, so that nothing is compiled here either.
    code = loader.get_code(name) if compiled else None
    source = loader.get_source(name)
    assert source is not None, name
    return Module(
        name=name,
        source=source.encode("utf-8"),
        code=_renamed(code, origin) if code else None,
        is_package=is_package,
        origin=origin,
    )


def _renamed(code: CodeType, origin: str) -> CodeType:
    """`code` with the node's view of its file name: no path of this machine is shipped."""
    constants = tuple(_renamed(c, origin) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=origin, co_consts=constants)


def _magic() -> str:
    return f"{importlib.util.MAGIC_NUMBER.hex()}-{sys.implementation.cache_tag}"

"""How a stock python3 runs the helper (`dasctl/remote/*.py`) from its standard input, with nothing installed.

What lives here: the first program, the form in which modules travel. What must not: which modules a
request needs (`helper_pack.py`), links, SSH.

Modules travel as code, for a python with the same magic number as ours (nothing is compiled there), or as sources. On the
node a module is executed when something in it is first used, not when it is imported.
"""

from __future__ import annotations

import importlib.util
import marshal
import pkgutil
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import CodeType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import InspectLoader

QUICK = 3  # zlib's level where a pack is made at once: 6 saves 7 % of the bytes and takes three times as long
SMALL = 9  # where it is kept

# What is executed first of all, compiled on the node: it takes the first program as code where the node's python can run
# it (compiling that takes 2 ms), as its source elsewhere.
_LOADER = b"""import sys, zlib
s, c = i.read(%d), i.read(%d)
e = sys.modules.get("_frozen_importlib_external")
if c and getattr(e, "MAGIC_NUMBER", b"").hex() + "-" + str(sys.implementation.cache_tag) == "%s":
    import marshal
    exec(marshal.loads(zlib.decompress(c)))
else:
    exec(zlib.decompress(s))"""

# Valid for every python3, so that one that is too old can say so. `_pack` (bytes of code, bytes of sources, magic) is put in
# front. Imports nothing beyond what python3 has at its start but zlib, marshal.
_FIRST_PROGRAM = """
def _speak(stream, more):
    v = sys.version_info
    text = "{\\"greeting\\":1,\\"python\\":[%d,%d,%d],%s}\\n" % (v[0], v[1], v[2], more)
    stream.write(("\\nDASCTL-LINK-1\\n" + text).encode("ascii"))
    stream.flush()


def _exactly(reader, size):
    data = b""
    while len(data) < size:
        piece = reader.read(size - len(data))
        if not piece:
            raise SystemExit
        data += piece
    return data


class _Ahead:
    def __init__(self, held, rest):
        import io

        self._held, self._rest, self.fileno = io.BytesIO(held), rest, rest.fileno

    def readline(self, limit=-1):
        return self._held.readline(limit) or self._rest.readline(limit)

    def read(self, size):
        return self._held.read(size) or self._rest.read(size)

    def peek(self, size):
        return self._held.getvalue()[self._held.tell() :] or self._rest.peek(size)


def _read_ahead(reader, left, usable):
    import json

    held = [_exactly(reader, left)]
    while True:
        line = reader.readline()
        if not line:
            raise SystemExit
        header = json.loads(line.decode("ascii"))
        body = _exactly(reader, header.get("size", 0))
        if "modules" not in header:
            held.append(line + body)
        elif usable(header):
            return header, body, _Ahead(b"".join(held), reader)


def _start(stdin, stdout):
    import gc
    import marshal
    import zlib
    from _thread import RLock

    gc.set_threshold(50000, 20, 100)  # there are many values for each line of a manifest, and no cycles of them
    external = sys.modules.get("_frozen_importlib_external")
    magic = getattr(external, "MAGIC_NUMBER", b"").hex() + "-" + str(sys.implementation.cache_tag)
    codes, sources, lock = {}, {}, RLock()
    Spec = type(sys.__spec__) if sys.__spec__ else type(sys.__loader__.find_spec("sys"))

    class Module(type(sys)):
        def __getattr__(self, name):
            if name[:2] != "__":
                with lock:
                    if self.__dict__.pop("_waits", False):
                        exec(pack.get_code(self.__name__), self.__dict__)
                    if name in self.__dict__:
                        return self.__dict__[name]
            raise AttributeError("module %r has no attribute %r" % (self.__name__, name))

    class Pack:
        link = None
        magic = None

        def add(self, header, body):
            size = header.get("code", 0)
            if size and header.get("magic") == magic:
                codes.update(marshal.loads(zlib.decompress(body[:size])))
            if len(body) > size:
                sources.update(marshal.loads(zlib.decompress(body[size:])))
            self.place()

        def place(self):
            # What is there already needs no finding.
            package = sys.modules.get("dasctl.remote")
            for name in [*codes, *sources] if package else ():
                if name not in sys.modules:
                    module = Module(name)
                    module.__spec__, module.__loader__, module._waits = self.find_spec(name), self, True
                    module.__package__, module.__file__ = "dasctl.remote", module.__spec__.origin
                    sys.modules[name] = module
                    setattr(package, name.rpartition(".")[2], module)

        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] != "dasctl":
                return None
            package = name in ("dasctl", "dasctl.remote")
            spec = Spec(name, self, origin=name.replace(".", "/") + ".py", is_package=package)
            spec.has_location = True
            return spec

        def create_module(self, spec):
            return Module(spec.name)

        def exec_module(self, module):
            if module.__spec__.submodule_search_locations is None:
                module._waits = True

        def get_code(self, name):
            if name not in codes and name not in sources and self.link:
                self.link.send({"event": "modules", "wanted": [name]})
                self.add(*self.link.read_ahead(_read_ahead))
            if name in codes:
                return codes[name]
            if name not in sources:
                raise ModuleNotFoundError("the helper has no module %s" % name, name=name)
            return compile(self.get_source(name), name.replace(".", "/") + ".py", "exec", dont_inherit=True)

        def get_source(self, name):
            return sources[name].decode("utf-8") if name in sources else None

    pack = Pack()
    pack.magic = magic
    pack.add({"code": _pack[0], "magic": _pack[2]}, stdin.read(_pack[0] + _pack[1]))
    if _pack[0] and not _pack[1] and not codes:
        _speak(stdout, "\\"magic\\":\\"%s\\",\\"wanted\\":\\"sources\\"" % magic)
        header, body, stdin = _read_ahead(stdin, 0, lambda header: not header.get("code"))
        pack.add(header, body)
    sys.meta_path.insert(0, pack)
    import dasctl.remote

    pack.place()
    from dasctl.remote.main import main

    main(stdin, stdout)


def _end():
    # Python's own end takes apart all that there is, module by module, for nothing.
    sys.stdout.flush()
    sys.stderr.flush()
    if "threading" not in sys.modules:
        from posix import _exit

        _exit(0)


if sys.version_info < (3, 9):
    _speak(sys.stdout.buffer, "\\"error\\":\\"too old\\"")
else:
    _start(i, sys.stdout.buffer)
    _end()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the helper. What tracebacks on the node show as its file is made of its name."""

    name: str
    source: bytes
    code: CodeType | None

    @property
    def origin(self) -> str:
        """The file name that tracebacks on the node show."""
        return origin_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Modules as they travel: marshalled and compressed. `code` is of use to a python with our magic only."""

    names: tuple[str, ...]
    code: bytes
    sources: bytes


@cache
def payload() -> bytes:
    """The whole helper, for what asks for no modules later; the same for all nodes of this process."""
    return pack(helper_modules())


def pack(modules: tuple[Module, ...]) -> bytes:
    """The payload for `modules`, one of which is `dasctl.remote.main`: their code, and their sources for all else."""
    codes = {module.name: module.code for module in modules if module.code is not None}
    return opening(packed(codes, {module.name: module.source for module in modules}, level=QUICK))


def packed(codes: Mapping[str, CodeType], sources: Mapping[str, bytes], *, level: int) -> Packed:
    """`codes` and `sources` by the modules' names."""
    return Packed(
        names=tuple(dict.fromkeys((*codes, *sources))),
        code=zlib.compress(marshal.dumps(dict(codes)), level) if codes else b"",
        sources=zlib.compress(marshal.dumps(dict(sources), 2), level) if sources else b"",
    )


def opening(first: Packed) -> bytes:
    """What goes to standard input before everything else: the first program, and `first`, which has the main module."""
    head = f"import sys\n_pack = ({len(first.code)}, {len(first.sources)}, {magic()!r})\n"
    program = (head + _FIRST_PROGRAM).encode("ascii")
    source, code = zlib.compress(program, SMALL), b""
    if first.code:
        code = zlib.compress(marshal.dumps(compile(program, "<helper>", "exec", dont_inherit=True)), SMALL)
    loader = _LOADER % (len(source), len(code), magic().encode("ascii"))
    return b"%d\n" % len(loader) + loader + source + code + first.code + first.sources


def helper_modules(*, compiled: bool = True) -> tuple[Module, ...]:
    """The helper's modules, read through their loaders (files or a zip). The packages themselves are empty there."""
    remote = import_module("dasctl.remote")
    names = sorted(f"dasctl.remote.{m.name}" for m in pkgutil.iter_modules(remote.__path__) if not m.ispkg)
    return tuple(_module(name, compiled=compiled) for name in names)


def _module(name: str, *, compiled: bool) -> Module:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None, name
    # Those of files and of zips are one alike, though the latter does not say so.
    loader = cast("InspectLoader", spec.loader)
    # get_code uses this machine's __pycache__, so that nothing is compiled here either.
    code = loader.get_code(name) if compiled else None
    source = loader.get_source(name)
    assert source is not None, name
    return Module(
        name=name, source=source.encode("utf-8"), code=renamed(code, origin_of(name)) if code else None
    )


def renamed(code: CodeType, origin: str) -> CodeType:
    """`code` with the node's view of its file name: no path of this machine is shipped."""
    constants = tuple(renamed(c, origin) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=origin, co_consts=constants)


def origin_of(name: str) -> str:
    """The file that the node shows for a module."""
    return name.replace(".", "/") + ".py"


def magic() -> str:
    """Which code objects this interpreter makes and reads; nodes tell theirs in the greeting."""
    return f"{importlib.util.MAGIC_NUMBER.hex()}-{sys.implementation.cache_tag}"

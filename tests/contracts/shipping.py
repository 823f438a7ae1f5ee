"""Payloads whose `dasctl.remote.main` is something else than the helper."""

from __future__ import annotations

from pathlib import Path

from dasctl.adapters import bootstrap

STANDIN = Path(__file__).with_name("standin.py")


def payload_with(source: bytes, *, compiled: bool = True) -> bytes:
    """The helper's payload with another main module."""
    name, origin = "dasctl.remote.main", "dasctl/remote/main.py"
    others = tuple(m for m in bootstrap.helper_modules(compiled=compiled) if m.name != name)
    code = compile(source, origin, "exec", dont_inherit=True) if compiled else None
    return bootstrap.pack((*others, bootstrap.Module(name=name, source=source, code=code)))


def standin_payload(*, compiled: bool = True) -> bytes:
    return payload_with(STANDIN.read_bytes(), compiled=compiled)

"""The domain as it was judged last, so that a `domain.yaml` that did not change is neither parsed nor judged again.

What lives here: `.dasctl/domain`, a cache: a SHA-256 of what follows, one of the text and of the program that judged it, and
the domain in msgpack. What must not: YAML, rules. Only a domain without faults is kept.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

import dasctl
from dasctl.adapters.beside import write_beside
from dasctl.core.domain import Domain

_SIZE = 32  # bytes of a SHA-256


def key_of(text: str) -> bytes:
    """What the kept domain has to be of: this text, judged by these modules."""
    core = Path(dasctl.__file__).parent / "core"
    try:
        with os.scandir(core) as found:
            judges = sorted(
                (entry.name, entry.stat().st_mtime_ns) for entry in found if entry.name.endswith(".py")
            )
    except OSError:
        judges = []  # not from files: they change with the release alone
    told = repr((1, dasctl.__version__, str(core), judges, text))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


def kept(own: Path, key: bytes) -> Domain | None:
    """The domain of `key`; None: there is none, or it is damaged."""
    try:
        data = (own / "domain").read_bytes()
    except OSError:
        return None
    if data[_SIZE : 2 * _SIZE] != key or data[:_SIZE] != hashlib.sha256(data[_SIZE:]).digest():
        return None
    try:
        return msgspec.msgpack.decode(data[2 * _SIZE :], type=Domain)
    except (msgspec.MsgspecError, ValueError):
        return None


def keep(own: Path, key: bytes, domain: Domain) -> None:
    """Keep it, where `own` is there and can be written to."""
    packed = msgspec.msgpack.encode(domain)
    if msgspec.msgpack.decode(packed, type=Domain) != domain:
        return
    data = key + packed
    try:
        write_beside(os.fsencode(own / "domain"), hashlib.sha256(data).digest() + data, mode=0o600)
    except OSError:
        pass

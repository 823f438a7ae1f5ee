"""Contents that come as changes of others: applied exactly, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.remote.conversation import END, Das, Tree, content, instance, on_disk, sync_request, talk

from dasctl.remote import delta, frames
from dasctl.remote.staging import BadContent

BASE = bytes(range(256)) * 40


def instructions(listed: list[tuple[int, int, bytes]], size: int | None = None, **header: Any) -> bytes:
    """`listed`: (where the copy begins, counted from the end of the last one; its bytes; what is inserted behind it)."""
    total = sum(copy + len(insert) for _seek, copy, insert in listed) if size is None else size
    first = json.dumps({"format": 1, "ops": len(listed), "size": total, **header}).encode() + b"\n"
    return (
        first
        + struct.pack(f"<{len(listed)}q", *[seek for seek, _copy, _insert in listed])
        + struct.pack(f"<{len(listed)}I", *[copy for _seek, copy, _insert in listed])
        + struct.pack(f"<{len(listed)}I", *[len(insert) for _seek, _copy, insert in listed])
        + b"".join(insert for _seek, _copy, insert in listed)
    )


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return iter([data[start : start + size] for start in range(0, len(data), size)])


def applied(tmp_path: Path, data: bytes, size: int, piece: int = 7) -> bytes:
    file = tmp_path / "base"
    file.write_bytes(BASE)
    handle = os.open(file, os.O_RDONLY)
    try:
        return b"".join(bytes(made) for made in delta.result(cut(data, piece), handle, size))
    finally:
        os.close(handle)


OPS = st.lists(
    st.tuples(st.integers(0, len(BASE)), st.integers(0, 3000), st.binary(max_size=20)), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(OPS, st.integers(1, 100))
def test_any_instructions_give_what_they_say(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[int, int, bytes]], piece: int
) -> None:
    told, wanted, end = [], b"", 0
    for start, copy, insert in ops:
        copy = min(copy, len(BASE) - start)
        told.append((start - end, copy, insert))
        wanted += BASE[start : start + copy] + insert
        end = start + copy
    tmp_path = tmp_path_factory.mktemp("delta")
    assert applied(tmp_path, instructions(told), len(wanted), piece) == wanted


GOOD = instructions([(5, 10, b"new"), (-3, 4, b"")])
BAD = {
    "cut in the header": GOOD[:10],
    "cut in the numbers": GOOD[:50],
    "cut in what is inserted": GOOD[:-1],
    "more than it says": GOOD + b"x",
    "no header": b"\n" + GOOD,
    "a header without an end": b"{" + b" " * 5000,
    "a list for a header": b"[]\n",
    "a newer format": instructions([(0, 17, b"")], format=2),
    "another size": instructions([(0, 17, b"")], size=18),
    "negative count": instructions([], size=17, ops=-1),
    "more instructions than allowed": instructions([], size=17, ops=1 << 40),
    "a count that is none": instructions([], size=17, ops=True),
    "before the base": instructions([(-1, 17, b"")]),
    "beyond the base": instructions([(len(BASE) - 16, 17, b"")]),
    "far beyond the base": instructions([((1 << 62), 17, b"")]),
    "back behind the beginning": instructions([(0, 8, b""), (-9, 9, b"")]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_instructions_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadContent):
        applied(tmp_path, BAD[name], 17)
    assert applied(tmp_path, GOOD, 17) == BASE[5:15] + b"new" + BASE[12:16]


def delta_frame(old: bytes, new: bytes, data: bytes) -> bytes:
    header = {"delta": hashlib.sha256(new).hexdigest(), "base": hashlib.sha256(old).hexdigest()}
    return frames.encode(header, zlib.compress(data))


NEW = BASE[:5000] + b"inserted" + BASE[5000:]
CHANGED = instructions([(0, 5000, b"inserted"), (0, len(BASE) - 5000, b"")])


def asked_with(path: Path, frame: bytes, revision: int = 2) -> dict[str, Any]:
    """The verdict of web1, which stands at revision 1, on its way to the new tree with this content frame."""
    tree = Tree().file("lib/app.war", NEW)
    request = sync_request(path, [instance("web1", tree, revision, 1)], [tree])
    verdict: dict[str, Any] = talk(request, frame, END)[-1][0]["instances"][0]
    return verdict


def test_a_delta_becomes_the_new_content(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/app.war", BASE))
    verdict = asked_with(tmp_path, delta_frame(BASE, NEW, CHANGED))
    assert verdict["verdict"] == "done", verdict
    assert on_disk(tmp_path / "web1") == Tree().file("lib/app.war", NEW).entries


def test_the_base_may_lie_in_a_neighbour(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree())
    das.sync(Tree().file("docroot/elsewhere", BASE), "web2")
    assert asked_with(tmp_path, delta_frame(BASE, NEW, CHANGED))["verdict"] == "done"
    assert (tmp_path / "web1/lib/app.war").read_bytes() == NEW


@pytest.mark.parametrize("data", [CHANGED[:-1], instructions([(0, len(NEW) - 8, b"inserted")]), b""])
def test_a_delta_that_does_not_fit_is_as_if_none_had_come(tmp_path: Path, data: bytes) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/app.war", BASE))
    verdict = asked_with(tmp_path, delta_frame(BASE, NEW, data))
    assert (verdict["verdict"], verdict["contents"]) == ("needs", [hashlib.sha256(NEW).hexdigest()])
    assert (tmp_path / "web1/lib/app.war").read_bytes() == BASE
    assert asked_with(tmp_path, content(NEW))["verdict"] == "done"


def test_a_base_that_was_edited_is_not_used(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/app.war", BASE))
    (tmp_path / "web1/lib/app.war").write_bytes(b"by hand")
    verdict = asked_with(tmp_path, delta_frame(BASE, NEW, CHANGED))
    assert (verdict["verdict"], verdict["contents"]) == ("needs", [hashlib.sha256(NEW).hexdigest()])


def test_a_base_that_is_not_what_its_modtime_says_gives_nothing(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/app.war", BASE))
    file = tmp_path / "web1/lib/app.war"
    status = file.stat()
    file.write_bytes(BASE[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    verdict = asked_with(tmp_path, delta_frame(BASE, NEW, CHANGED))
    assert (verdict["verdict"], verdict["contents"]) == ("needs", [hashlib.sha256(NEW).hexdigest()])

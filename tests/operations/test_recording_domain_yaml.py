"""`config/domain.yaml` is a part of each revision, and the text that is kept is the one that was scanned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dasctl.core import areas
from dasctl.core.exchange import Piece
from dasctl.errors import RepositoryError
from dasctl.operations.recording import current
from dasctl.remote import manifest
from tests.scenarios.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(base=tmp_path)


def text_kept(world: World, number: int) -> str:
    """The text of domain.yaml that a revision keeps."""
    parts = world.das.history.parts_of(number)
    assert parts is not None
    (data,) = [part for part in parts.values() if part.split(b"\0")[0].endswith(b" config/domain.yaml")]
    (entry,) = manifest.decode(data)
    pieces: list[Piece] = list(world.das.objects.pieces(entry.digest.decode()))
    raw = b"".join(_unpacked(piece) for piece in pieces)
    assert (hashlib.sha256(raw).hexdigest().encode(), len(raw)) == (entry.digest, entry.size)
    return raw.decode()


def _unpacked(piece: Piece) -> bytes:
    import zlib

    return zlib.decompress(piece.data) if piece.packed else piece.data


def test_each_revision_keeps_its_text(world: World) -> None:
    ctx = world.context("one")
    first = world.das.store.text or ""
    assert current(ctx).revision.number == 1
    world.das.store.write(first + "# more\n")
    assert current(ctx).revision.number == 2
    assert (text_kept(world, 1), text_kept(world, 2)) == (first, first + "# more\n")
    assert current(ctx).revision.number == 2


def test_a_new_modtime_of_domain_yaml_alone_is_no_revision(world: World) -> None:
    ctx = world.context("one")
    current(ctx)
    world.das.repository.touch(areas.DEFINITION, mtime=5)
    assert not current(ctx).new


class Edited:
    """A repository whose domain.yaml somebody edits right before or after a scan."""

    def __init__(self, world: World, texts: list[str], *, after: bool) -> None:
        self._world, self._texts, self._after = world, texts, after
        self._inner = world.das.repository

    def scan(self, *args: Any, **more: Any) -> Any:
        if not self._after and self._texts:
            self._world.das.store.write(self._texts.pop(0))
        found = self._inner.scan(*args, **more)
        if self._after and self._texts:
            self._world.das.store.write(self._texts.pop(0))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("after", [False, True], ids=["before the scan", "after the scan"])
def test_an_edit_between_load_and_scan_is_seen_whole(world: World, after: bool) -> None:
    text = world.das.store.text or ""
    new = text.replace("web1:", "web9:")
    assert new != text
    world.das.repository = Edited(world, [new], after=after)  # type: ignore[assignment]
    now = current(world.context("one"))
    assert "web9" in now.domain.instances
    assert text_kept(world, now.revision.number) == new


def test_a_command_that_goes_on_with_what_it_loaded_is_told(world: World) -> None:
    text = world.das.store.text or ""
    domain = world.das.store.load()
    world.das.repository = Edited(world, [text.replace("web1:", "web9:")], after=False)  # type: ignore[assignment]
    with pytest.raises(RepositoryError, match=r"config/domain\.yaml was changed while"):
        current(world.context("one"), domain=domain)


def test_an_edit_that_means_the_same_is_waited_for(world: World) -> None:
    text = world.das.store.text or ""
    domain = world.das.store.load()
    world.das.repository = Edited(world, [text + "# comment\n"], after=True)  # type: ignore[assignment]
    now = current(world.context("one"), domain=domain)
    assert text_kept(world, now.revision.number) == text + "# comment\n"


def test_one_that_never_rests_is_named(world: World) -> None:
    text = world.das.store.text or ""
    texts = [text.replace("web1:", f"web{number}:") for number in range(10, 20)]
    world.das.repository = Edited(world, texts, after=True)  # type: ignore[assignment]
    with pytest.raises(RepositoryError, match=r"changed each time while they were read: config/domain\.yaml"):
        current(world.context("one"))

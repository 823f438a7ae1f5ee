"""Objects on a disk that is full: nothing half is left, and what to do is said."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.adapters.objects import FolderObjects
from dasctl.errors import HistoryError
from tests.core.test_delta import noise


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, mounted as the domain's own folder."""
    if os.getuid():
        pytest.skip("only root can mount")
    folder = tmp_path / ".dasctl"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    yield tmp_path
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("sizes", [[3 << 20], [100_000] * 60], ids=["one large", "many"])
def test_a_full_disk(small: Path, sizes: list[int]) -> None:
    wanted = {}
    for number, size in enumerate(sizes):
        data = noise(number, size)
        (small / str(number)).write_bytes(data)
        wanted[hashlib.sha256(data).hexdigest()] = str(number).encode()
    with pytest.raises(HistoryError, match="No space left") as caught:
        FolderObjects(small).keep(wanted)
    assert "make room" in caught.value.hint
    assert list((small / ".dasctl" / "objects" / "new").iterdir()) == []
    there = [file.name for file in (small / ".dasctl" / "objects").glob("??/*")]
    assert len(there) < len(sizes)
    assert FolderObjects(small).check(there) == {}


def test_a_delta_needs_no_room(small: Path) -> None:
    old, new = noise(1, 700_000), noise(1, 700_000) + b"more"
    wanted = {}
    for name, data in (("old", old), ("new", new)):
        (small / name).write_bytes(data)
        wanted[hashlib.sha256(data).hexdigest()] = name.encode()
    objects = FolderObjects(small)
    assert objects.keep(wanted) == {}
    (small / ".dasctl" / "filler").write_bytes(bytes(os.statvfs(small / ".dasctl").f_bavail * 4096))
    made = objects.delta(*wanted)
    assert made is not None
    assert len(made) < 200

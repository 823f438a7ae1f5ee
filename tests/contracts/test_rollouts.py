"""One suite for both places of an unfinished change; below it, what only a disk can get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dasctl.adapters.rollouts import UPGRADING, FolderRollouts, MemoryRollouts
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Rollouts


@pytest.fixture(params=["folder", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Rollouts:
    return FolderRollouts(tmp_path) if request.param == "folder" else MemoryRollouts()


def test_what_was_written_last_is_there_until_it_is_cleared(kept: Rollouts) -> None:
    assert kept.read() is None
    kept.write(b"one" * 1000)
    kept.write(b"two\n")
    assert kept.read() == b"two\n"
    kept.clear()
    kept.clear()
    assert kept.read() is None


def test_it_is_nobody_elses_to_read_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    FolderRollouts(tmp_path).write(b"x")
    (file,) = (tmp_path / ".dasctl").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("rolling", 0o600)


def test_two_kinds_of_changes_do_not_meet(tmp_path: Path) -> None:
    FolderRollouts(tmp_path, UPGRADING).write(b"x")
    assert FolderRollouts(tmp_path).read() is None


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".dasctl").write_text("in the way")
    with pytest.raises(OperationFailed, match=r"rolling cannot be written: .*"):
        FolderRollouts(tmp_path).write(b"x")
    with pytest.raises(OperationFailed, match="rolling cannot be read"):
        FolderRollouts(tmp_path).read()

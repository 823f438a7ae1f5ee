"""Archives of logs as other tools see them: one .tar.gz in the order of its parts, whole or not there."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from dasctl.adapters.log_archives import TarLogArchive, TarLogArchives
from dasctl.errors import OperationFailed, UsageError

ODD = "web1/logs/\udcff\n" + "long" * 50 + ".log"


def fill(archive: TarLogArchive, number: int, *members: tuple[str, bytes, int]) -> None:
    with archive.part(number) as part:
        for name, content, mtime in members:
            with part.spool() as spool:
                spool.write(content)
                part.add(name, spool, mode=0o640, mtime=mtime)


def write(file: Path, *, force: bool = False) -> int:
    with TarLogArchives().writing(file, force=force) as archive:
        fill(archive, 2, ("web2/logs/server.log", b"x" * 3_000_000, 1_700_000_000_000_000_000))
        fill(archive, 1, (ODD, b"odd", 1_700_000_000_123_456_789), ("web1/logs/empty", b"", -5))
        return archive.finish()


def test_tar_opens_it_and_python_too(tmp_path: Path) -> None:
    file = tmp_path / "logs.tar.gz"
    assert write(file) == file.stat().st_size
    with tarfile.open(file) as tar:
        members = {info.name: info for info in tar}
        assert list(members) == [ODD, "web1/logs/empty", "web2/logs/server.log"]
        assert members[ODD].pax_headers["mtime"] == "1700000000.123456789"
        assert {(info.mode, info.uid, info.type) for info in members.values()} == {
            (0o640, 0, tarfile.REGTYPE)
        }
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xzf", str(file), "-C", str(out)], check=True, capture_output=True)
    assert (out / ODD).read_bytes() == b"odd"
    assert (out / ODD).stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (out / "web2/logs/server.log").stat().st_size == 3_000_000
    subprocess.run(["gzip", "-t", str(file)], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"logs.tar.gz", "out"}


def test_the_same_logs_make_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    time.sleep(1.1)
    write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    file = tmp_path / "logs.tar.gz"
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write(file)
    assert file.read_text() == "mine"
    write(file, force=True)
    assert tarfile.is_tarfile(file)


def test_one_that_came_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    file = tmp_path / "logs.tar.gz"
    with TarLogArchives().writing(file, force=False) as archive:
        fill(archive, 1, ("a", b"x", 0))
        file.write_text("somebody else's")
        with pytest.raises(UsageError, match="exists already"):
            archive.finish()
    assert file.read_text() == "somebody else's"
    assert list(tmp_path.iterdir()) == [file]


def test_without_an_end_nothing_is_left(tmp_path: Path) -> None:
    with TarLogArchives().writing(tmp_path / "x", force=False) as archive:
        fill(archive, 1, ("a", b"x", 0))
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_broke_off_is_left_out(tmp_path: Path) -> None:
    with TarLogArchives().writing(tmp_path / "x", force=False) as archive:
        fill(archive, 2, ("b", b"x", 0))
        with pytest.raises(ValueError, match="lost"), archive.part(1) as part:
            part.add("a", io.BytesIO(b"half"), mode=0o644, mtime=0)
            raise ValueError("lost")
        archive.finish()
    with tarfile.open(tmp_path / "x") as tar:
        assert tar.getnames() == ["b"]


def test_a_folder_that_is_not_there_and_a_disk_that_is_full_are_told(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="cannot be written"):
        write(tmp_path / "nowhere" / "x")
    with (
        TarLogArchives().writing(tmp_path / "x", force=False) as archive,
        pytest.raises(OperationFailed, match="No space left"),
        archive.part(1),
    ):
        raise OSError(28, "No space left on device")

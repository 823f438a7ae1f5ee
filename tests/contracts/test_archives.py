"""Archives: what is unpacked is what was packed, and nothing that an archive says of itself is believed."""

import errno
import gzip
import io
import os
import random
import stat
import struct
import tarfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dasctl.adapters.archives import FileArchives
from dasctl.core.archives import Limits
from dasctl.errors import ArchiveRefused, OperationFailed

LIMITS = Limits()
WHEN_NS = 1_650_000_000_123_456_789
archives = FileArchives()


def zipped(file: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # doubles are meant
        for name, data in members:
            made.writestr(name, data)
    return file


def info_of(name: str, mode: int = 0o100644, **more: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(2024, 5, 6, 7, 8, 10))
    info.external_attr = mode << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    for key, value in more.items():
        setattr(info, key, value)
    return info


def tarred(file: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as made:
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file


def tar_info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info


def tree_of(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """All that is in a folder: kind, permissions, modtime in ns, content or target."""
    root, found = os.fsencode(folder), {}
    for here, folders, files in os.walk(root):
        for name in [b".", *folders, *files]:
            path = os.path.join(here, name)
            seen = os.lstat(path)
            content: bytes = b""
            if stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(seen.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            mode = 0 if stat.S_ISLNK(seen.st_mode) else stat.S_IMODE(seen.st_mode)
            key = os.path.normpath(os.path.relpath(path, root))
            found[key] = (stat.S_IFMT(seen.st_mode), mode, seen.st_mtime_ns, content)
    return found


def unpacked(file: Path, **limits: int | None) -> Path:
    into = file.parent / "into"
    archives.unpack(file, into, Limits(**limits))  # type: ignore[arg-type]
    return into


def test_a_war_comes_out_as_it_is(tmp_path: Path) -> None:
    file = zipped(
        tmp_path / "shop.war",
        (info_of("WEB-INF/"), b""),
        (info_of("WEB-INF/web.xml"), b"<web/>" * 1000),
        (info_of("bin/run.sh", 0o104755), b"#!/bin/sh\n"),
        (info_of("empty"), b""),
        (info_of("current", 0o120777), b"WEB-INF"),
    )
    into = unpacked(file)
    assert (into / "WEB-INF/web.xml").read_bytes() == b"<web/>" * 1000
    assert stat.S_IMODE((into / "bin/run.sh").stat().st_mode) == 0o755  # executable, not setuid
    assert stat.S_IMODE((into / "empty").stat().st_mode) == 0o644
    assert os.readlink(into / "current") == "WEB-INF"
    local = time.mktime((2024, 5, 6, 7, 8, 10, 0, 0, -1)) * 10**9
    assert {path.lstat().st_mtime_ns for path in into.rglob("*")} == {local}
    assert into.stat().st_mtime_ns == local


def test_modtimes_in_extra_fields_win(tmp_path: Path) -> None:
    extended = struct.pack("<HHBi", 0x5455, 5, 1, 1_600_000_001)
    ticks = (1_600_000_002 + 11_644_473_600) * 10**7 + 1234567
    ntfs = struct.pack("<HHIHHQQQ", 0x000A, 32, 0, 1, 24, ticks, ticks, ticks)
    file = zipped(
        tmp_path / "a.jar",
        (info_of("extended", extra=extended), b"1"),
        (info_of("ntfs", extra=ntfs), b"2"),
        (info_of("odd", extra=b"\x55\x54\x05"), b"3"),
    )
    into = unpacked(file)
    assert (into / "extended").stat().st_mtime_ns == 1_600_000_001 * 10**9
    assert (into / "ntfs").stat().st_mtime_ns == 1_600_000_002 * 10**9 + 123456700


def test_backslashes_of_windows_part_folders(tmp_path: Path) -> None:
    there = {"WEB-INF\\": b"", "WEB-INF\\web.xml": b"<web/>", "a\\b\\c.txt": b"c"}
    file = zipped(
        tmp_path / "x.zip",
        *((info_of(name, mode=0, create_system=0), data) for name, data in there.items()),
        (info_of("kept/a\\b", create_system=0), b"1"), (info_of("unix\\name"), b"2"),
    )  # fmt: skip
    archives.unpack(file, tmp_path / "x", LIMITS)
    found = {str(path.relative_to(tmp_path / "x")) for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert found == {"WEB-INF/web.xml", "a/b/c.txt", "kept/a\\b", "unix\\name"}


@pytest.mark.parametrize("name", ["..\\x", "a\\..\\..\\x", "\\etc\\x"])
def test_backslashes_of_windows_lead_nowhere(tmp_path: Path, name: str) -> None:
    file = zipped(tmp_path / "x.zip", (info_of(name, create_system=0), b"x"))
    with pytest.raises(ArchiveRefused, match=r"leads upwards|absolute"):
        archives.unpack(file, tmp_path / "x", LIMITS)


def test_names_are_bytes(tmp_path: Path) -> None:
    name = "stra\N{LATIN SMALL LETTER SHARP S}e"
    file = zipped(tmp_path / "a.zip", (info_of(name), b"1"), (info_of("Case"), b"2"), (info_of("case"), b"3"))
    raw = file.read_bytes().replace(b"Case", b"\xe4\xf6\\x")
    file.write_bytes(raw)
    into = unpacked(file)
    assert {name.encode(), b"\xe4\xf6\\x", b"case"} == set(os.listdir(os.fsencode(into)))


# What is refused: what it shows, how the archive is called, what is in it, what the message has to say.

LINK, HARD, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
ATTACKS: list[tuple[str, list[object], str, str]] = [
    ("absolute", [("/etc/passwd", b"x")], "/etc/passwd", "absolute"),
    ("upwards", [("a/../../x", b"x")], "a/../../x", "leads upwards"),
    ("upwards at the end", [("a/..", b"x")], "a/..", "leads upwards"),
    ("without a name", [("", b"x")], "without a name", "empty"),
    ("the same file twice", [("a", b"1"), ("./a", b"2")], "./a", "comes twice"),
    ("a file and a folder", [("a/b", b"1"), ("a", b"2")], "a", "a folder and a file"),
    ("a file and what is below it", [("a", b"1"), ("a/b", b"2")], "a/b", "behind a file"),
    ("a long name", [("n" * 256, b"1")], "n" * 256, "256 bytes"),
    ("a long path", [("d/" * 2000 + "f", b"1")], "d/d", "bytes"),
]  # fmt: skip
LINKS: list[tuple[str, list[tuple[str, bytes, str]], str, str]] = [
    ("an absolute link", [("l", LINK, "/etc")], "l", "leads out"),
    ("a link upwards", [("a/l", LINK, "../../x")], "a/l", "leads out"),
    ("a link up and back", [("l", LINK, "../into/x")], "l", "leads out"),
    ("a link that climbs behind a name", [("a", LINK, "."), ("l", LINK, "a/../..")], "l", "leads out"),
    ("a link that climbs through a link", [("d/a", LINK, "."), ("d/l", LINK, "a/../x")], "d/l", "'..' behind a name"),
    ("an empty link", [("l", LINK, "")], "l", "leads out"),
    ("a file behind a link", [("l", LINK, "d"), ("l/x", tarfile.REGTYPE, "")], "l/x", "behind a link"),
    ("a link in place of a folder", [("d/x", tarfile.REGTYPE, ""), ("d", LINK, "e")], "d", "a folder and a link"),
    ("a folder in place of a link", [("d", LINK, "e"), ("d", DIR, "")], "d", "a link and a folder"),
    ("a file over a link", [("d", LINK, "e"), ("d", tarfile.REGTYPE, "")], "d", "a link and a file"),
    ("the folder itself as a link", [(".", LINK, "e")], ".", "leads out"),
]  # fmt: skip
TAR_ONLY: list[tuple[str, list[tuple[str, bytes, str]], str, str]] = [
    ("a hard link that leads out", [("h", HARD, "../../etc/passwd")], "h", "leads out"),
    ("an absolute hard link", [("h", HARD, "/etc/passwd")], "h", "leads out"),
    ("a hard link to nothing", [("h", HARD, "later")], "h", "no file before it"),
    ("a hard link to a link", [("l", LINK, "x"), ("h", HARD, "l")], "h", "no file before it"),
    ("a hard link through a link", [("d/x", tarfile.REGTYPE, ""), ("l", LINK, "d"), ("h", HARD, "l/x")], "h", "no file"),
    ("a device", [("dev", tarfile.CHRTYPE, "")], "dev", "a device"),
    ("a block device", [("dev", tarfile.BLKTYPE, "")], "dev", "a device"),
    ("a named pipe", [("pipe", tarfile.FIFOTYPE, "")], "pipe", "a named pipe"),
    ("a type of its own", [("odd", b"Q", "")], "odd", "unknown type"),
]  # fmt: skip


def refused(file: Path, member: str, why: str, **limits: int | None) -> None:
    """It is refused, names archive, member and reason; nothing but the new folder was touched."""
    before = set(file.parent.iterdir())
    with pytest.raises(ArchiveRefused) as raised:
        unpacked(file, **limits)
    assert raised.value.message.startswith(f"{file.name} is refused: ")
    assert member in raised.value.message and why in raised.value.message, raised.value.message
    assert raised.value.hint
    assert set(file.parent.iterdir()) - before <= {file.parent / "into"}


@pytest.mark.parametrize(("what", "members", "member", "why"), ATTACKS, ids=[row[0] for row in ATTACKS])
def test_paths_that_are_refused(
    tmp_path: Path, what: str, members: list[tuple[str, bytes]], member: str, why: str
) -> None:
    names = [(info_of(name), data) for name, data in members]
    refused(zipped(tmp_path / "a.zip", *names), member, why)
    if all(name for name, _ in members):  # tarfile writes no empty name
        (tmp_path / "tar").mkdir()
        tar = tarred(tmp_path / "tar" / "a.tar.gz", *((tar_info(name), data) for name, data in members))
        refused(tar, member, why)


@pytest.mark.parametrize(
    ("what", "members", "member", "why"), [*LINKS, *TAR_ONLY], ids=[row[0] for row in [*LINKS, *TAR_ONLY]]
)
def test_links_and_devices_that_are_refused(
    tmp_path: Path, what: str, members: list[tuple[str, bytes, str]], member: str, why: str
) -> None:
    made = [(tar_info(name, kind, target), b"") for name, kind, target in members]
    refused(tarred(tmp_path / "a.tgz", *made), member, why)


@pytest.mark.parametrize(("what", "members", "member", "why"), LINKS, ids=[row[0] for row in LINKS])
def test_the_same_links_in_a_zip(
    tmp_path: Path, what: str, members: list[tuple[str, bytes, str]], member: str, why: str
) -> None:
    modes = {LINK: 0o120777, DIR: 0o40755, tarfile.REGTYPE: 0o100644}
    made = [(info_of(name, modes[kind]), target.encode()) for name, kind, target in members]
    refused(zipped(tmp_path / "a.zip", *made), member, why)


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_in_a_zip(tmp_path: Path, kind: int) -> None:
    refused(zipped(tmp_path / "a.zip", (info_of("odd", kind | 0o644), b"")), "odd", "a device")


def test_a_nul_in_a_name(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", (info_of("good.txtXevil"), b"1"))
    file.write_bytes(file.read_bytes().replace(b"X", b"\0"))
    refused(file, "good.txt", "NUL")
    (tmp_path / "tar").mkdir()
    info = tar_info("a")
    info.pax_headers = {"path": "good\0evil"}
    refused(tarred(tmp_path / "tar" / "a.tar.gz", (info, b"")), "good", "NUL")


def test_bombs(tmp_path: Path) -> None:
    large = b"\0" * (80 << 20)
    bomb = zipped(tmp_path / "bomb.zip", (info_of("zeros"), large))
    refused(bomb, "zeros", "200 times")
    (tmp_path / "tar").mkdir()
    tar = tarred(tmp_path / "tar" / "bomb.tar.gz", (tar_info("zeros"), large))
    refused(tar, "zeros", "200 times")
    (tmp_path / "again").mkdir()
    bomb.rename(tmp_path / "again" / "bomb.zip")
    unpacked(tmp_path / "again" / "bomb.zip", ratio=None)
    assert (tmp_path / "again/into/zeros").stat().st_size == len(large)


def test_limits_on_size_and_count(tmp_path: Path) -> None:
    members = [(info_of(f"d{i}/f"), b"0123456789") for i in range(5)]
    refused(zipped(tmp_path / "a.zip", *members), "d4/f", "more than 49 bytes", bytes=49)
    (tmp_path / "more").mkdir()
    refused(zipped(tmp_path / "more" / "a.zip", *members), "d4/f", "more than 9 files", files=9)
    (tmp_path / "fits").mkdir()
    unpacked(zipped(tmp_path / "fits" / "a.zip", *members), bytes=50, files=10)


def test_folders_in_folders_without_end(tmp_path: Path) -> None:
    deep = "d/" * 256
    refused(zipped(tmp_path / "a.zip", (f"{deep}f", b"")), "", "more than 256 folders deep")
    refused(tarred(tmp_path / "a.tgz", (tar_info(f"{deep}f"), b"")), "", "more than 256 folders deep")
    with pytest.raises(ArchiveRefused) as caught:
        unpacked(zipped(tmp_path / "b.zip", ("d/" * 1500 + "f", b"")))
    assert " ... " in str(caught.value) and len(str(caught.value)) < 800
    assert tree_of(unpacked(zipped(tmp_path / "c.zip", (deep[2:] + "f", b""))))


def test_a_size_that_lies_is_not_believed(tmp_path: Path) -> None:
    """The claimed size is 10; what comes out counts, and what does not fit its checksum is refused."""
    data = b"\0" * 5000
    file = zipped(tmp_path / "a.zip", (info_of("liar"), data))
    raw = file.read_bytes().replace(struct.pack("<I", len(data)), struct.pack("<I", 10))
    file.write_bytes(raw)
    refused(file, "liar", "damaged")


def test_sparse_files_are_counted_as_they_come_out(tmp_path: Path) -> None:
    info = tar_info("sparse")
    info.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "sparse",
        "GNU.sparse.realsize": str(1 << 40), "GNU.sparse.map": "0,1",
    }  # fmt: skip
    refused(tarred(tmp_path / "a.tar.gz", (info, b"x")), "sparse", "more than")


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    header = tar_info("x", tarfile.XHDTYPE)
    header.size = 1 << 32
    with gzip.open(file, "wb") as out:
        out.write(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 4096)
    refused(file, "a header of", "4,294,967,296")


def test_many_headers_in_a_row(tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    header = tar_info("x", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(file, "wb") as out:
        out.write(header * 50_000)
    refused(file, "no .tar.gz", "")


def test_what_is_damaged_or_no_archive(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(100_000)
    whole = {
        "a.war": zipped(tmp_path / "whole.war", (info_of("one"), data), (info_of("two"), data)).read_bytes(),
        "a.tgz": tarred(
            tmp_path / "whole.tgz", (tar_info("one"), data), (tar_info("two"), data)
        ).read_bytes(),
    }
    flipped = {name: bytes((*raw[:50_000], raw[50_000] ^ 1, *raw[50_001:])) for name, raw in whole.items()}
    broken = [
        *((name, raw[: len(raw) // 2]) for name, raw in whole.items()),
        *((name, raw[:-1]) for name, raw in whole.items()),
        *flipped.items(),
        *((name, b"no archive at all") for name in whole),
        *((name, b"") for name in whole),
        ("a.war", whole["a.tgz"]), ("a.tgz", whole["a.war"]), ("a.tgz", whole["a.tgz"] + b"behind"),
    ]  # fmt: skip
    for number, (name, raw) in enumerate(broken):
        file = tmp_path / str(number) / name
        file.parent.mkdir()
        file.write_bytes(raw)
        refused(file, "", "")
    corrupt = tmp_path / "crc" / "a.war"
    corrupt.parent.mkdir()
    corrupt.write_bytes(flipped["a.war"])
    refused(corrupt, "one", "CRC")


def test_a_tar_damaged_in_the_middle_does_not_end_there(tmp_path: Path) -> None:
    """tarfile takes a header that is none for the end."""
    raw = gzip.decompress(
        tarred(tmp_path / "whole.tgz", (tar_info("one"), b"1"), (tar_info("two"), b"2")).read_bytes()
    )
    file = tmp_path / "a.tgz"
    file.write_bytes(gzip.compress(raw[:1024] + b"\xff" * 512 + raw[1536:]))
    refused(file, "one", "damaged at byte")


def test_encrypted_members_and_odd_methods(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", (info_of("secret"), b"data" * 10))
    raw = bytearray(file.read_bytes())
    directory = raw.rindex(b"PK\1\2")
    raw[6] |= 1
    raw[directory + 8] |= 1
    file.write_bytes(raw)
    refused(file, "secret", "encrypted")
    (tmp_path / "bz2").mkdir()
    refused(
        zipped(tmp_path / "bz2" / "a.zip", (info_of("b", compress_type=zipfile.ZIP_BZIP2), b"x")),
        "b",
        "method 12",
    )


def test_an_endless_list_of_members(tmp_path: Path) -> None:
    many = [(zipfile.ZipInfo(f"{i:>200}"), b"") for i in range(20_000)]
    refused(zipped(tmp_path / "a.zip", *many), "list of members", "", files=100)


def test_broken_bytes_anywhere_are_refused_or_harmless(tmp_path: Path) -> None:
    """No exception but ours, and no file outside, whatever byte is wrong."""
    chance = random.Random(7)
    data = b"some text, " * 20
    kinds = {
        "a.jar": zipped(tmp_path / "a.jar", (info_of("d/one"), data), (info_of("l", 0o120777), b"d/one")),
        "a.tgz": tarred(tmp_path / "a.tgz", (tar_info("d/one"), data), (tar_info("l", LINK, "d/one"), b"")),
    }
    for name, file in kinds.items():
        raw = file.read_bytes() if name == "a.jar" else gzip.decompress(file.read_bytes())
        for number in range(400):
            at = chance.randrange(len(raw))
            wrong = raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]
            place = tmp_path / f"{name}-{number}"
            place.mkdir()
            (place / name).write_bytes(wrong if name == "a.jar" else gzip.compress(wrong, 1))
            try:
                unpacked(place / name)
            except ArchiveRefused:
                pass
            assert {path.name for path in place.iterdir()} <= {name, "into"}


# Folders.


def random_tree(root: Path, chance: random.Random) -> None:
    folders = [b"."]
    for _ in range(chance.randrange(1, 60)):
        name = bytes(chance.choice(b"ab\xff\xc3\xb6 \n\\~-\x01") for _ in range(chance.randrange(1, 9)))
        if chance.random() < 0.05:
            name = b"n" * 255
        path = os.path.join(os.fsencode(root), chance.choice(folders), name)
        if os.path.lexists(path):
            continue
        match chance.randrange(5):
            case 0:
                os.mkdir(path)
                folders.append(os.path.relpath(path, os.fsencode(root)))
            case 1:
                os.symlink(chance.choice([b"x", b"a/b", b"./y", b"\xff"]), path)
            case _:
                with open(path, "wb") as file:
                    file.write(chance.randbytes(chance.choice([0, 1, 511, 512, 513, 70_000])))
                os.chmod(path, chance.choice([0o644, 0o600, 0o755, 0o444, 0o660]))
    for here, folders_here, files in os.walk(os.fsencode(root), topdown=False):
        for name in [*files, *folders_here, b"."]:
            when = chance.choice([0, 1, WHEN_NS, -1, -1_500_000_000, 2**33 * 10**9 + 5]) + chance.randrange(3)
            os.utime(os.path.join(here, name), ns=(when, when), follow_symlinks=False)


@pytest.mark.parametrize("seed", range(12))
def test_a_folder_comes_out_of_its_archive_as_it_was(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    random_tree(folder, random.Random(seed))
    archives.pack(folder, tmp_path / "a.tar.gz")
    archives.pack(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    into = unpacked(tmp_path / "a.tar.gz")
    assert tree_of(into) == tree_of(folder)
    told = {
        entry.path or b".": (entry.mtime, entry.size)
        for entry in archives.entries(tmp_path / "a.tar.gz", LIMITS)
    }
    assert {
        path: (row[2], len(row[3]) if row[0] == stat.S_IFREG else 0) for path, row in tree_of(into).items()
    } == told


def test_a_folder_that_cannot_be_packed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    cases: list[tuple[Callable[[Path], None], str]] = [
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/etc/passwd"), "leads out"),
        (lambda path: path.symlink_to("../../x"), "leads out"),
    ]
    for number, (make, why) in enumerate(cases):
        make(folder / "odd")
        with pytest.raises(OperationFailed, match="odd") as raised:
            archives.pack(folder, tmp_path / f"{number}.tar.gz")
        assert why in raised.value.message
        (folder / "odd").unlink()


def test_a_folder_that_is_named_by_a_link_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(folder)
    archives.pack(tmp_path / "link", tmp_path / "a.tar.gz")
    assert [entry.path for entry in archives.entries(tmp_path / "a.tar.gz", LIMITS)] == [b"", b"a"]
    with pytest.raises(OperationFailed, match="none cannot be read"):
        archives.pack(tmp_path / "none", tmp_path / "b.tar.gz")


def test_hard_links_become_files_of_their_own(tmp_path: Path) -> None:
    file = tarred(
        tmp_path / "a.tgz", (tar_info("d/x"), b"content"), (tar_info("y", HARD, "d/x", mode=0o600), b"")
    )
    into = unpacked(file)
    assert (into / "y").read_bytes() == b"content" and (into / "y").stat().st_nlink == 1
    entries = {entry.path: entry for entry in archives.entries(file, LIMITS)}
    assert entries[b"y"].digest == entries[b"d/x"].digest and entries[b"y"].size == 7


def test_a_copy_has_the_digest_and_the_modtime(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", ns=(WHEN_NS, WHEN_NS))
    kept = archives.keep(tmp_path / "a", tmp_path / "b")
    assert (kept.size, kept.sha256[:8]) == (5, "5994471a")
    assert (tmp_path / "b").stat().st_mtime_ns == WHEN_NS
    with pytest.raises(OperationFailed, match="cannot be read"):
        archives.keep(tmp_path / "none", tmp_path / "c")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", ("a", b"1"))
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("mine")
    with pytest.raises(OperationFailed, match="not empty"):
        unpacked(file)
    assert os.listdir(tmp_path / "into") == ["mine"]


def test_a_full_disk_names_the_member(tmp_path: Path) -> None:
    """Told by the kernel: a limit on the sizes of files stands for a disk without room."""
    import resource
    import signal

    file = zipped(tmp_path / "a.zip", (info_of("large"), random.Random(1).randbytes(3 << 20)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OperationFailed, match="large") as raised:
            unpacked(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(raised.value.__cause__, OSError) and raised.value.__cause__.errno == errno.EFBIG
    assert "make room" in raised.value.hint


def test_memory_stays_small(tmp_path: Path) -> None:
    """A large archive is streamed, both ways."""
    import tracemalloc

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "large").write_bytes(random.Random(1).randbytes(1 << 20) * 24)
    tracemalloc.start()
    archives.pack(folder, tmp_path / "a.tar.gz")
    unpacked(tmp_path / "a.tar.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert zlib.crc32((tmp_path / "into/large").read_bytes()) == zlib.crc32((folder / "large").read_bytes())

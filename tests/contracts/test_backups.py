"""Backups as files: what standard tools find in them, what comes out of them, and what is believed of hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dasctl.adapters import backup_reading
from dasctl.adapters.backup_file import FolderBackups
from dasctl.adapters.restored import FolderRestoring
from dasctl.adapters.store import create_domain
from dasctl.cli.main import run
from dasctl.core import backups
from dasctl.errors import OperationFailed
from tests.core.test_delta import noise
from tests.system.cluster import tree_of

ODD = (b"a b", b"new\nline", b"back\\slash", b"not-utf8-\xff", b"-dash", "é".encode(), b"x" * 200)


def carried_out(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return run(words, out=out, err=err), out.getvalue(), err.getvalue()


def done(*words: str) -> str:
    code, out, err = carried_out(*words)
    assert code == 0, out + err
    return out


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    """A domain with odd names, old modtimes, links, modes, empty and large files, and a past."""
    root = tmp_path / "shop"
    create_domain(root, None, sample=False, id="6f1c2c1e-0000-4000-8000-000000000001")
    (root / "docroot/page").write_text("one")
    done("--domain", str(root), "backup-domain")
    (root / "docroot/page").write_text("two")
    for name in ODD:
        (root / "docroot" / os.fsdecode(name)).write_bytes(name)
    (root / "lib/empty").touch()
    (root / "lib/large").write_bytes(noise(1, 700_000) + b"text " * 200_000)
    (root / "lib/link").symlink_to("../docroot/a b")
    (root / "lib/script").write_text("#!/bin/sh\n")
    (root / "lib/script").chmod(0o755)
    (root / "lib/secret").write_text("x" * 3000)
    (root / "lib/secret").chmod(0o400)
    os.utime(root / "lib/script", ns=(-1_500_000_001, -1_500_000_001))
    os.utime(root / "lib/secret", ns=(2**33 * 10**9 + 7, 2**33 * 10**9 + 7))
    os.utime(root / "lib", ns=(123_456_789_012_345_678, 123_456_789_012_345_678))
    return root


def backup_of(domain: Path, *words: str) -> Path:
    folder = domain.parent / "kept"
    done("--domain", str(domain), "backup-domain", "--to", str(folder), *words)
    return max(folder.glob("*.tar.gz"))


def areas_of(root: Path) -> dict[bytes, tuple[object, ...]]:
    return {path: seen for path, seen in tree_of(root).items() if not path.startswith(b".")}


def test_standard_tools(domain: Path, tmp_path: Path) -> None:
    file = backup_of(domain)
    assert file.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "by hand"
    folder.mkdir()
    subprocess.run(["tar", "xzpf", file, "-C", folder], check=True, capture_output=True)
    subprocess.run(["gzip", "-t", file], check=True, capture_output=True)
    checked = subprocess.run(
        ["sha256sum", "--quiet", "-c", "MANIFEST.sha256"], cwd=folder, capture_output=True
    )
    assert (checked.returncode, checked.stdout) == (0, b""), checked.stderr
    with tarfile.open(file, encoding="utf-8", errors="surrogateescape") as tar:
        assert tar.next().name == "MANIFEST.sha256"  # type: ignore[union-attr]
    assert areas_of(folder / "shop") == areas_of(domain)
    assert (folder / "shop/.dasctl/history.db").is_file()


def test_what_comes_out_is_what_went_in(domain: Path, tmp_path: Path) -> None:
    file = backup_of(domain)
    done("restore-domain", str(file), "--to", str(tmp_path / "other"))
    assert areas_of(tmp_path / "other") == areas_of(domain)
    assert carried_out("--domain", str(tmp_path / "other"), "--terse", "history")[1].count("\n") == 3
    objects = {path.name for path in (domain / ".dasctl/objects").glob("??/*")}
    assert {path.name for path in (tmp_path / "other/.dasctl/objects").glob("??/*")} >= objects


def test_without_history(domain: Path, tmp_path: Path) -> None:
    file = backup_of(domain, "--without-history")
    done("restore-domain", str(file), "--to", str(tmp_path / "other"))
    assert areas_of(tmp_path / "other") == areas_of(domain)
    assert carried_out("--domain", str(tmp_path / "other"), "--terse", "history")[1].count("\n") == 1


def test_nothing_is_packed_twice(domain: Path) -> None:
    file = backup_of(domain, "--without-history")
    assert 700_000 < file.stat().st_size < 850_000  # of 1.7 MB, 0.7 of them noise


def test_keep(domain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    other = tmp_path / "other"
    create_domain(other, None, sample=False, id="6f1c2c1e-0000-4000-8000-000000000002")
    done("--domain", str(other), "backup-domain", "--to", str(folder))
    mine = folder / "shop-20200101T000000Z-r1.tar.gz"
    mine.write_text("somebody's own")
    for _ in range(4):
        done("--domain", str(domain), "backup-domain", "--to", str(folder), "--keep", "2")
    listed = FolderBackups().listed(folder)
    assert [each.facts.domain for each in listed if each.facts] == ["other", "shop", "shop"]
    assert mine.read_text() == "somebody's own"
    code, out, err = carried_out("list-backups", "--from", str(folder))
    assert code == 0
    assert out.count("shop") >= 3
    assert str(mine) in err


def test_a_domain_that_is_there(domain: Path, tmp_path: Path) -> None:
    file = backup_of(domain)
    (domain / "docroot/later").write_text("later")
    code, _, err = carried_out("--domain", str(domain), "restore-domain", str(file))
    assert (code, "--force" in err) == (2, True)
    assert (domain / "docroot/later").exists()
    done("--domain", str(domain), "restore-domain", str(file), "--force")
    assert not (domain / "docroot/later").exists()
    (before,) = tmp_path.glob("shop.before-*")
    assert (before / "docroot/later").exists()
    assert (domain / ".dasctl/backups").is_dir()
    assert not list(tmp_path.glob(".*restoring*"))
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "file").touch()
    code, _, err = carried_out("restore-domain", str(file), "--to", str(stray), "--force")
    assert (code, "no domain" in err) == (2, True)


def test_the_last_revision_where_files_change_without_pause_or_somebody_works(domain: Path) -> None:
    from dasctl.adapters.store import YamlStore

    done("--domain", str(domain), "backup-domain")
    (domain / "docroot/page").write_text("three")
    with YamlStore(domain).domain_locked("somebody else", wait_s=0):
        code, out, err = carried_out("--domain", str(domain), "--json", "backup-domain")
    assert code == 0
    assert '"revision": 2' in out
    assert "the last that was recorded" in out
    assert err == ""
    text = (domain / "config/domain.yaml").read_text()
    (domain / "config/domain.yaml").write_text("half a li: [ne")
    code, out, err = carried_out("--domain", str(domain), "backup-domain")
    assert (code, "domain.yaml" in err) == (0, True)
    (domain / "config/domain.yaml").write_text(text)


# Damaged and hostile ones.


Change = Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]


def rewritten(file: Path, change: Change) -> Path:
    """The backup after `change(name, member, data)`, which returns what stands in the place of each member."""
    target = file.with_name("x-20270115T080000Z-r1.tar.gz")
    buffer = io.BytesIO()
    with (
        tarfile.open(file, encoding="utf-8", errors="surrogateescape") as source,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out,
    ):
        for member in source:
            data = source.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
            for made, content in change(member, data):
                made.size = len(content)
                out.addfile(made, io.BytesIO(content))
    from dasctl.adapters.backup_tar import TRAILER

    target.write_bytes(gzip.compress(buffer.getvalue()) + TRAILER)
    return target


def added(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def beside(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", *, at: str = "shop") -> Change:
    """Let another member follow the one called `at`."""

    def change(member: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        more = [(added(name, kind, target), b"x" if kind == tarfile.REGTYPE else b"")]
        return [(member, data), *(more if member.name == at else [])]

    return change


def without(name: str) -> Change:
    return lambda member, data: [] if member.name == name else [(member, data)]


PAGE = "shop/docroot/page"
HOSTILE: dict[str, Change] = {
    "outside": beside("shop/../evil"),
    "absolute": beside("/evil"),
    "another folder": beside("evil"),
    "a device": beside("shop/null", tarfile.CHRTYPE),
    "a hard link": beside("shop/x", tarfile.LNKTYPE, "/etc/passwd"),
    "a link among ours": beside("shop/.dasctl", tarfile.SYMTYPE, "/tmp"),
    "a file that nobody promised": beside("shop/docroot/more", at="shop/docroot"),
    "a link that nobody promised": beside("shop/docroot/more", tarfile.SYMTYPE, "/etc", at="shop/docroot"),
    "twice": lambda member, data: [(member, data)] * (2 if member.name == PAGE else 1),
    "a changed file": lambda member, data: [(member, data.upper() if member.name == PAGE else data)],
    "a missing file": without(PAGE),
    "no manifest": without("MANIFEST.sha256"),
    "no facts": without("BACKUP.json"),
}


def test_hostile(domain: Path, tmp_path: Path) -> None:
    sound, target = backup_of(domain, "--without-history"), tmp_path / "target"
    for what, change in HOSTILE.items():
        file = rewritten(sound, change)
        code, _, err = carried_out("restore-domain", str(file), "--to", str(target))
        assert code == 1, what
        assert "is no backup of a domain, or is damaged" in err, what
        # Even if it had passed for sound: the same judgement stands where files are written.
        with pytest.raises(OperationFailed, match="damaged"):
            (tmp_path / "laid-out").mkdir()
            backup_reading.read(file, tmp_path / "laid-out", lambda read, total: None)
        shutil.rmtree(tmp_path / "laid-out", ignore_errors=True)
        assert not target.exists(), what
        assert not (tmp_path / "evil").exists(), what
        assert not list(tmp_path.glob(".*restoring*")), what


def test_a_changed_mode_or_modtime(domain: Path) -> None:
    def change(member: tarfile.TarInfo, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if member.name == "shop/lib/script":
            member.mode = 0o777
        return [(member, data)]

    file = rewritten(backup_of(domain), change)
    with pytest.raises(OperationFailed, match="modes, modtimes"):
        FolderBackups().verify(file, lambda read, total: None)


def test_cut_off_anywhere(domain: Path) -> None:
    file = backup_of(domain, "--without-history")
    data = file.read_bytes()
    for size in (0, 10, 100, 5000, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        (found,) = FolderBackups().listed(file.parent)
        assert found.facts is None
        with pytest.raises(OperationFailed, match="damaged"):
            FolderBackups().verify(file, lambda read, total: None)


def test_a_flipped_bit_anywhere(domain: Path) -> None:
    file = backup_of(domain, "--without-history")
    data = file.read_bytes()
    for place in range(20, len(data) - 100, len(data) // 25):
        file.write_bytes(data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :])
        try:
            FolderBackups().verify(file, lambda read, total: None)
        except OperationFailed:
            continue
        # The few bytes that are no contents: gzip's own times and systems.
        assert gzip.decompress(data) == gzip.decompress(file.read_bytes())


def test_what_is_missing_and_what_is_nothing(tmp_path: Path) -> None:
    assert carried_out("restore-domain", str(tmp_path / "none"), "--to", str(tmp_path / "x"))[0] == 1
    (tmp_path / "none").write_bytes(hashlib.sha256(b"").digest() * 9)
    assert carried_out("restore-domain", str(tmp_path / "none"), "--to", str(tmp_path / "x"))[0] == 1
    assert FolderBackups().listed(tmp_path / "nowhere") == []
    assert FolderRestoring(environment={}, current=tmp_path).find(tmp_path / "x") == tmp_path / "x"
    assert backups.is_name("shop-20270115T080000Z-r12.tar.gz")

"""Diffs say what differs, and `patch` applies them to the byte."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from dasctl.core import unified
from dasctl.core.unified import Side, file_diff, is_text, quoted

needs_patch = pytest.mark.skipif(shutil.which("patch") is None, reason="no patch here")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")


def text(data: bytes, mode: int = 0o644) -> Side:
    return Side(kind="f", mode=mode, size=len(data), data=data)


def link(target: bytes) -> Side:
    return Side(kind="l", mode=0o777, data=target)


def test_a_changed_line():
    assert file_diff(b"docroot/a", text(b"one\ntwo\n"), text(b"one\n2\n")) == (
        b"diff --git a/docroot/a b/docroot/a\n--- a/docroot/a\n+++ b/docroot/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    )


def test_no_newline_at_the_end():
    shown = file_diff(b"a", text(b"one"), text(b"one\n"))
    assert shown.endswith(b"@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+one\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, text(b"x\n"), [b"new file mode 100644", b"--- /dev/null", b"+++ b/p", b"@@ -0,0 +1 @@"]),
        (text(b"x\n"), None, [b"deleted file mode 100644", b"--- a/p", b"+++ /dev/null", b"@@ -1 +0,0 @@"]),
        (text(b"x\n"), text(b"x\n", 0o755), [b"old mode 100644", b"new mode 100755"]),
        (text(b""), None, [b"deleted file mode 100644"]),
        (
            link(b"there"),
            link(b"here"),
            [b"-there", b"\\ No newline at end of file", b"+here", b"\\ No newline at end of file"],
        ),
        (text(b"a\0b"), text(b"a\0cd"), [b"Binary files a/p and b/p differ (3 bytes and 4 bytes)"]),
        (text(b"a\0b"), None, [b"Binary files a/p and /dev/null differ (3 bytes and not there)"]),
        (
            text(b"a"),
            Side(kind="f", mode=0o644, size=5 << 20),
            [b"Large files a/p and b/p differ (1 bytes and 5,242,880 bytes)"],
        ),
    ],
)
def test_what_is_told(old, new, told):
    lines = file_diff(b"p", old, new).split(b"\n")
    assert [line for line in told if line not in lines] == []


def test_a_file_in_place_of_a_link_goes_and_comes():
    shown = file_diff(b"p", link(b"x"), text(b"y\n"))
    assert shown.count(b"diff --git") == 2
    assert shown.index(b"deleted file mode 120000") < shown.index(b"new file mode 100644")


def test_equal_files_say_nothing():
    assert file_diff(b"p", text(b"x"), text(b"x")) == b""
    large = Side(kind="f", mode=0o644, size=5 << 20, sha256="a" * 64)
    assert file_diff(b"p", large, large) == b""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", True),
        ("für".encode(), True),
        ("für".encode("latin-1"), True),
        (b"PK\x03\x04\xff", False),
        (b"a\0", False),
        ("für".encode("utf-16"), False),
    ],
)
def test_what_is_text(data, expected):
    assert is_text(data) is expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a/plain name", b"a/plain name"),
        ("a/für".encode(), "a/für".encode()),
        (b"a/\xff\n", b'"a/\\377\\n"'),
        (b'a/"x"\\', b'"a/\\"x\\"\\\\"'),
        (b"a/\x1b[31m", b'"a/\\033[31m"'),
    ],
)
def test_names_are_quoted_as_git_does(name, shown):
    assert quoted(name) == shown


def made(random_: random.Random) -> bytes:
    words = [b"a", b"b", b"", b"caf\xe9", "für".encode(), b"\r", b"-- x", b"+++ y", b"\\ z"]
    data = b"\n".join(random_.choice(words) for _ in range(random_.randrange(30)))
    return data + random_.choice([b"", b"\n"])


def edited(random_: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    for _ in range(random_.randrange(4)):
        place = random_.randrange(len(lines) + 1)
        lines[place : place + random_.randrange(3)] = [
            made(random_)[:5].replace(b"\n", b"")
        ] * random_.randrange(3)
    return b"\n".join(lines)


@needs_patch
def test_patch_applies_random_diffs(tmp_path: Path) -> None:
    random_ = random.Random(7)
    names = [b"plain", b"with space", "für".encode(), b"odd\xff\tname", b'quo"te']
    for number in range(60):
        before = made(random_)
        after = edited(random_, before)
        name = names[number % len(names)]
        folder = tmp_path / str(number)
        folder.mkdir()
        path = bytes(folder) + b"/" + name
        with open(path, "wb") as file:
            file.write(before)
        shown = file_diff(name, text(before), text(after))
        if not shown:
            assert before == after
            continue
        ran = subprocess.run(["patch", "-p1", "--binary", "-s"], cwd=folder, input=shown, capture_output=True)
        assert ran.returncode == 0, (shown, ran.stdout, ran.stderr)
        data = (
            Path(path.decode("utf-8", "surrogateescape")).read_bytes() if after or folder.iterdir() else b""
        )
        assert data == after, shown


@needs_git
def test_git_applies_new_deleted_modes_and_links(tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"x")
    (tmp_path / "tool").write_bytes(b"run\n")
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "tool").chmod(0o644)
    shown = b"".join(
        [
            file_diff(b"gone", text(b"x"), None),
            file_diff(b"come", None, text(b"y")),
            file_diff(b"tool", text(b"run\n"), text(b"walk\n", 0o755)),
            file_diff(b"link", link(b"there"), link(b"here")),
        ]
    )
    ran = subprocess.run(["git", "apply", "-p1"], cwd=tmp_path, input=shown, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "come").read_bytes() == b"y"
    assert (tmp_path / "tool").read_bytes() == b"walk\n"
    assert (tmp_path / "tool").stat().st_mode & 0o777 == 0o755
    assert str((tmp_path / "link").readlink()) == "here"


def test_large_differences_are_told_as_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    before = b"".join(b"%d\n" % number for number in range(3000))
    after = b"".join(b"%d\n" % (number * 7) for number in range(3000))
    shown = b"".join(unified.hunks(before, after))
    assert shown.count(b"@@ ") == 1
    assert shown.startswith(b"@@ -1,3000 +1,3000 @@\n 0\n-1\n")

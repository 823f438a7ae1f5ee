"""One pattern, or a few: git itself is asked about each path of a tree that has all that is odd in names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dasctl.core.patterns import Ignore, fault_of

FOLDERS = [b"a", b"b", b"x", b"ab", b"important", b"\xe9"]
NAMES = [
    *FOLDERS, b"c", b"ba", b"axb", b"a b", b"a ", b"a  ", b" a", b"*", b"!x", b"#x", b"\\", b"?", b"]", b"[a", b"-",
    b"1", b"A", b"Ab", "\u00e9".encode(), "\u00e9x".encode(), b"\xe9x", b"a\xff", b".a", b"...", b"x.log", b"a\t",
    b"{a,b}", b"a+b", b"a|b", b"(a)", b"^a", b"a$", b"a\\", b"a?", b"a*", b"x1", b"ax", b"bx", b"[a]", b"a.o", b"\n",
    b"a\n", b"a\nb", b"[", b"!", b"^", b"a-c", b" ", b"z", b"axc", b"xa",
]  # fmt: skip

TABLE = [
    # stars
    ["*"], ["/*"], ["**"], ["/**"], ["***"], ["a/**"], ["**/a"], ["/**/a"], ["a/**/b"], ["a/**/"], ["a**b"], ["**a"],
    ["a/***/b"], ["a/**b"], ["a**/b"], ["ab**/c"], ["a**/"], ["a/b**"], ["a/b**/c"], ["?**/b"], ["*a**/b"], ["*/b"],
    ["a/*"], ["a/*/"], ["*/"], ["*/*"], ["*/**"], ["**/**"], ["**/a/**"], ["b/**/**/c"], ["a/b/**/c/"], ["*a*b*"],
    ["a*/b"], ["**\\/a"], ["a/**\\/c"],
    # where a pattern begins, and what only folders match
    ["a/"], ["/a"], ["/a/"], ["a/b"], ["a/b/"], ["a//b"], ["//a"], ["a/."], ["./a"], ["."], ["/b/a"],
    # one character
    ["?"], ["??"], ["a?b"], ["a/?"], ["?/b"], ["a[b]c"], ["a[!b]c"], ["x[!a-c]"], ["[ab]"], ["[!a]"], ["[^a]"],
    ["[a-c]x"], ["[z-a]"], ["[]]"], ["[!]]"], ["[]-a]"], ["[a-]"], ["[--0]"], ["[!-a]"], ["[a"], ["a]"], ["[*]"],
    ["[?]"], ["[.]"], ["[^/]"], ["[a/b]"], ["a[/]b"], ["[\\]]"], ["[\\a]"], ["[\\!a]"], ["[a\\-c]"], ["[\\\\]"],
    ["[\u00e9]"], ["\u00e9?"], ["\u00e9*"], ["\udce9*"], ["[[:alpha:]]"], ["[[:digit:]x]"], ["[[:upper:]]*"],
    ["[[:space:]]"], ["[[:punct:]]"], ["[![:alnum:]]"], ["[[:foo:]]"], ["[[:alpha:"], ["[[:alpha]"], ["[a[:digit]x]"],
    # what is protected, and what means nothing
    ["\\a"], ["\\*"], ["\\!x"], ["\\#x"], ["#x"], ["\\\\"], ["\\[a]"], ["a\\?"], ["a/\\*"], ["\\a\\b"], ["\\/a"],
    ["a\\/b"], ["a "], ["a\\ "], ["a\\  "], ["a  "], [" a"], ["\\ "], ["a\t"], ["{a,b}"], ["a+b"], ["a|b"], ["(a)"],
    ["^a"], ["a$"], [".*"], ["..."], ["*.[oa]"], ["/"], ["!/"],
    # `!`: the last match wins, and nothing comes back from below a folder that is out
    ["*", "!a"], ["*", "!a/"], ["a/", "!a/b"], ["a/*", "!a/b"], ["a", "!a/b"], ["a/**", "!a/b/"], ["!a", "a"],
    ["/*", "!/a", "/a/*", "!/a/b"], ["a", "!a", "a"], ["*.log", "!important/"], ["*.log", "!/a/x.log"],
    ["a/**", "!a/**/"], ["**/", "!a/"], ["a/**/", "!a/b/"], ["a*", "!*b", "/ab"], ["*", "!*/", "!x.log"],
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, bool]]:
    """A repository of git, and its paths with whether each is a folder."""
    root = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", root], check=True)
    paths = {name: name in FOLDERS for name in NAMES}
    for top in FOLDERS:
        paths |= {top + b"/" + name: name in FOLDERS for name in NAMES}
        for middle in (b"a", b"b"):
            paths |= {b"/".join((top, middle, name)): name == b"a" for name in NAMES}
            paths |= {b"/".join((top, middle, b"a", name)): False for name in (b"a", b"c", b"x.log")}
    for path, is_folder in paths.items():
        full = os.fsencode(root) + b"/" + path
        if is_folder:
            os.makedirs(full, exist_ok=True)
        else:
            with open(full, "wb"):
                pass
    return root, paths


@pytest.mark.parametrize("patterns", TABLE, ids=" ".join)
def test_git_says_the_same_of_each_path(patterns: list[str], tree: tuple[Path, dict[bytes, bool]]) -> None:
    root, paths = tree
    text = "".join(f"{pattern}\n" for pattern in patterns).encode("utf-8", "surrogateescape")
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_bytes(text)
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=root, input=b"".join(path + b"\0" for path in paths), stdout=subprocess.PIPE,
    )  # fmt: skip
    git = {*done.stdout.split(b"\0")} - {b""}
    ignore = Ignore(patterns)
    assert {path for path, is_folder in paths.items() if ignore.matches(path, is_folder)} == git


@pytest.mark.parametrize("pattern", ["[a", "a/[!b", "[[:foo:]]", "[[:alpha:", "/", "!/", "[/]"])
def test_a_pattern_that_can_match_nothing_is_a_fault(pattern: str) -> None:
    assert fault_of(pattern) == f"the pattern {pattern!r} can match nothing"


@pytest.mark.parametrize("pattern", ["", "  ", "# remark", "\\#x", "[z-a]", "a\\ ", "!x"])
def test_what_is_none_is_no_fault(pattern: str) -> None:
    assert fault_of(pattern) is None

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dasctl.core.patterns import Ignore, fault_of, regexes


@pytest.mark.parametrize(
    ("patterns", "path", "is_folder", "matches"),
    [
        (["*.swp"], b"a/.x.swp", False, True),
        (["*.swp"], b"a/x.swpx", False, False),
        (["*.swp"], b"a/new\nline.swp", False, True),
        (["*.swp"], b"a/\xff\xfe.swp", False, True),
        (["*.swp"], b"a.swp\n", False, False),
        ([".git/"], b"x/.git", True, True),
        ([".git/"], b"x/.git", False, False),
        ([".git/"], b"x/.git/config", False, True),
        (["/top"], b"top", False, True),
        (["/top"], b"x/top", False, False),
        (["a/b"], b"a/b", False, True),
        (["a/b"], b"x/a/b", False, False),
        (["a/**/b"], b"a/x/y/b", False, True),
        (["a/**/b"], b"a/b", False, True),
        (["config/**"], b"config/x/y", False, True),
        (["config/**"], b"config/x\ny", False, True),
        (["config/**"], b"config", True, False),
        (["config/**"], b"config/x", True, True),
        (["config/*.d/**"], b"config/x.d/y", False, True),
        (["config/*.d/**"], b"config/x.d", True, False),
        (["*.log", "!keep.log"], b"a/keep.log", False, False),
        (["*.log", "!keep.log"], b"a/lose.log", False, True),
        (["*.log", "!keep.log", "keep.*"], b"a/keep.log", False, True),
        (["!x"], b"x", False, False),
        (["\u00e4*"], "\u00e4b".encode(), False, True),
        (["a[bc]"], b"ac", False, True),
        (["#x", ""], b"#x", False, False),
        ([], b"x", False, False),
    ],
)
def test_matching(patterns: list[str], path: bytes, is_folder: bool, matches: bool) -> None:
    assert Ignore(patterns).matches(path, is_folder) is matches
    text = (path + b"/" if is_folder else path).decode("latin-1")
    assert any(re.search(regex, text) for regex in regexes(patterns)) is matches


@pytest.mark.parametrize("pattern", ["!", "foo\\", "a\nb", "x\0"])
def test_what_is_no_pattern(pattern: str) -> None:
    assert fault_of(pattern) is not None
    with pytest.raises(ValueError, match="not a gitignore pattern"):
        Ignore([pattern])


def test_the_short_cut_agrees_with_the_translator() -> None:
    for pattern, other in (("config/**", "confi[g]/**"), ("/a/b/**", "/a/[b]/**")):
        for path in (b"config", b"config/x", b"x/config/y", b"a/b", b"a/b/c/d", b"x/a/b/c"):
            assert Ignore([pattern]).matches(path, False) == Ignore([other]).matches(path, False)


def test_ten_thousand_paths_are_quick() -> None:
    ignore = Ignore(["*.swp", "*~", ".git/", "__pycache__/", "build/**/*.o"])
    paths = [b"docroot/section%d/images/picture-%d.jpg" % (n % 100, n) for n in range(10_000)]
    begin = time.process_time()
    assert not any(ignore.matches(path, False) for path in paths)
    assert time.process_time() - begin < 0.5  # measured: under 0.05


NAMES = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda name: name.strip("."))
PATTERNS = st.lists(
    st.from_regex(r"!?/?([ab.?*]{1,3}/|\*\*/){0,2}[ab.*?]{1,3}/?", fullmatch=True), max_size=4
)


@settings(deadline=None, max_examples=40)
@given(patterns=PATTERNS, paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=12))
def test_git_agrees(patterns: list[str], paths: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root: Path = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/exclude").write_text("".join(f"{pattern}\n" for pattern in patterns))
    names = sorted(paths)
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=root, input="".join(f"{n}\0" for n in names).encode(), stdout=subprocess.PIPE,
    )  # fmt: skip
    ignored = set(done.stdout.decode().split("\0")) - {""}
    ignore = Ignore(patterns)
    for name in names:
        assert ignore.matches(name.encode(), False) == (name in ignored), (patterns, name)

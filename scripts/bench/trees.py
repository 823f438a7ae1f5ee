"""Trees of files to synchronise, the same on every run, and the changes that the cases make to them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = 400
OLD_S = 1_700_000_000  # files are from 2023, so that no criterion takes them for just written
_POOL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """So many files of sizes between two bounds, in bytes."""

    share: float
    smallest: int
    largest: int


# A web application's mixture: pages and classes, pictures and libraries, a few archives.
SMALL = Kind(share=0.90, smallest=300, largest=7_700)
MIDDLE = Kind(share=0.099, smallest=10_000, largest=130_000)
LARGE = Kind(share=0.001, smallest=4_000_000, largest=8_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree on disk. `small` and `middle` are files of those kinds, in a fixed order."""

    root: Path
    files: int
    size: int
    small: tuple[Path, ...]
    middle: tuple[Path, ...]


class Contents:
    """Slices of two pools, one that compresses like text and one that does not compress."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        words = [
            "".join(self.random.choices("etaoinshrdlucmfw", k=self.random.randint(2, 9))) for _ in range(3000)
        ]
        text = " ".join(self.random.choices(words, k=_POOL_BYTES // 5)).encode()
        self.pools = (text[:_POOL_BYTES], self.random.randbytes(_POOL_BYTES))

    def make(self, size: int) -> bytes:
        """Text or noise."""
        return self._cut(self.random.choice(self.pools), size)

    def text(self, size: int) -> bytes:
        """What compresses to about a half."""
        return self._cut(self.pools[0], size)

    def noise(self, size: int) -> bytes:
        """What does not compress."""
        return self._cut(self.pools[1], size)

    def _cut(self, pool: bytes, size: int) -> bytes:
        start = self.random.randrange(0, len(pool) - size) if size < len(pool) else 0
        return pool[start : start + size]


def make_tree(root: Path, *, files: int, seed: int = 1) -> Tree:
    """Make a tree of `files` files at `root`; 10,000 files are about 165 MB."""
    contents = Contents(seed)
    by_kind: dict[Kind, list[Path]] = {SMALL: [], MIDDLE: [], LARGE: []}
    size = 0
    for number, kind in enumerate(_kinds(files, contents.random)):
        path = root / f"part{number % 20:02}" / f"folder{number % FOLDERS:03}" / f"file{number:05}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = contents.make(contents.random.randint(kind.smallest, kind.largest))
        path.write_bytes(data)
        size += len(data)
        by_kind[kind].append(path)
    tree = Tree(root=root, files=files, size=size, small=tuple(by_kind[SMALL]), middle=tuple(by_kind[MIDDLE]))
    set_modtimes(tree, OLD_S)
    return tree


def make_many(root: Path, *, files: int) -> Tree:
    """Many small files, 100 to a folder."""
    contents = Contents(2)
    small, size = [], 0
    for number in range(files):
        path = root / f"group{number // 10_000:02}" / f"folder{number // 100:04}" / f"file{number:06}.dat"
        if number % 100 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        data = contents.make(contents.random.randint(100, 2_000))
        path.write_bytes(data)
        size += len(data)
        small.append(path)
    tree = Tree(root=root, files=files, size=size, small=tuple(small), middle=())
    set_modtimes(tree, OLD_S)
    return tree


def make_large(root: Path, *, megabytes: int, seed: int = 3) -> Tree:
    """One file, of noise and text in turn, that repeats nothing."""
    root.mkdir(parents=True, exist_ok=True)
    chance, path = random.Random(seed), root / "data.bin"
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(chance.randbytes(1 << 20) if number % 2 else chance.randbytes(1 << 19).hex().encode())
    tree = Tree(root=root, files=1, size=path.stat().st_size, small=(), middle=(path,))
    set_modtimes(tree, OLD_S)
    return tree


def insert_in_large(tree: Tree, turn: int) -> None:
    """Insert another megabyte in the middle."""
    (path,) = tree.middle
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + random.Random(100 + turn).randbytes(1 << 20) + data[middle:])


def _kinds(files: int, chance: random.Random) -> list[Kind]:
    large, middle = max(1, round(files * LARGE.share)), max(1, round(files * MIDDLE.share))
    kinds = [LARGE] * large + [MIDDLE] * middle + [SMALL] * (files - large - middle)
    chance.shuffle(kinds)
    return kinds


def set_modtimes(tree: Tree, seconds: int) -> None:
    """Give every file and folder the modtime `seconds`, with nanoseconds that tell them apart."""
    for number, path in enumerate(_deepest_first(tree.root)):
        stamp = seconds * 10**9 + number * 1000 + 1
        os.utime(path, ns=(stamp, stamp))


def _deepest_first(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root, topdown=False):
        for name in sorted(names):
            yield Path(folder) / name
        yield Path(folder)


def change_one(tree: Tree, turn: int) -> None:
    """Change a hundred bytes in the middle of one file of some tens of kilobytes."""
    path = tree.middle[turn % len(tree.middle)]
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = random.Random(turn).randbytes(100)
    path.write_bytes(data)


def change_small(tree: Tree, turn: int, count: int) -> None:
    """Give `count` small files new contents."""
    contents = Contents(1000 + turn)
    for path in contents.random.sample(tree.small, min(count, len(tree.small))):
        path.write_bytes(contents.make(contents.random.randint(SMALL.smallest, SMALL.largest)))


def differences(left: Path, right: Path) -> list[str]:
    """How two trees differ in names, kinds, contents, modes and modtimes (ns): an eye of our own beside rsync's."""
    ours, theirs = _entries(left), _entries(right)
    found = [f"only in {left}: {name}" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"only in {right}: {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        one, other = ours[name].stat(), theirs[name].stat()
        if (one.st_mode, one.st_mtime_ns) != (other.st_mode, other.st_mtime_ns):
            found.append(f"mode or modtime: {name}")
        if ours[name].is_file() and ours[name].read_bytes() != theirs[name].read_bytes():
            found.append(f"content: {name}")
    return found


def _entries(root: Path) -> dict[str, Path]:
    return {str(path.relative_to(root)): path for path in _deepest_first(root)}

"""A web archive, and how a build makes it anew: the same sources but three, every entry with the time of the build."""

from __future__ import annotations

import io
import random
import time
import zipfile
from pathlib import Path

from trees import OLD_S, Contents, Tree, set_modtimes

CLASSES = 300  # entries of some kilobytes
LIBRARIES = 60  # jars: compressed already, and stored in the archive by the same means
PAGES = 60
REBUILT = 3


def make_war(root: Path) -> Tree:
    """A folder with one archive of about 17 MB."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "shop.war"
    path.write_bytes(_war(0))
    tree = Tree(root=root, files=1, size=path.stat().st_size, small=(), middle=(path,))
    set_modtimes(tree, OLD_S)
    return tree


def rebuild_war(tree: Tree, turn: int) -> None:
    """Build it again: three classes are others, and all entries bear a later time."""
    (path,) = tree.middle
    path.write_bytes(_war(turn))


def _war(turn: int) -> bytes:
    contents = Contents(7)
    changed = (
        {random.Random(turn * 31 + number).randrange(CLASSES) for number in range(REBUILT)} if turn else set()
    )
    built = time.gmtime(OLD_S + 3_600 * turn)[:6]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as war:
        for name, data in _entries(contents):
            number = int(name[-11:-6]) if name.endswith(".class") else -1
            if number in changed:
                data = data[: len(data) // 2] + f"build {turn}".encode() + data[len(data) // 2 :]
            war.writestr(zipfile.ZipInfo(name, built), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def _entries(contents: Contents) -> list[tuple[str, bytes]]:
    made = [("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]
    sizes = contents.random
    for number in range(CLASSES):
        made.append(
            (f"WEB-INF/classes/shop/Class{number:05}.class", contents.text(sizes.randint(2_000, 14_000)))
        )
    for number in range(LIBRARIES):
        made.append((f"WEB-INF/lib/library-{number}.jar", contents.noise(sizes.randint(80_000, 460_000))))
    for number in range(PAGES):
        made.append((f"pages/page{number}.html", contents.text(sizes.randint(3_000, 30_000))))
    return made

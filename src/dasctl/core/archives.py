"""The judgement over an archive's members: what may be unpacked, where, and how much of it.

What lives here: paths, links, devices, doubles, limits. What must not: reading archives, writing files
(`adapters/archives.py`).

Nothing that an archive says of itself is believed: a member's bytes are counted as they come out. Links are judged by
their words, as in the repository: no member lies behind a link, a target climbs only at its beginning and never above
the folder, so however links are chained, they end in the folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dasctl.errors import ArchiveRefused
from dasctl.remote import paths
from dasctl.remote.paths import printable

ZIP_ENDINGS = (".war", ".ear", ".jar", ".zip")
TAR_ENDINGS = (".tar.gz", ".tgz")
ENDINGS = (*ZIP_ENDINGS, *TAR_ENDINGS)

MOST_BYTES = 4 << 30
MOST_FILES = 100_000
MOST_RATIO = 200  # unpacked bytes for one of the archive's: zeros make 1,000, texts 10
FREE_OF_RATIO = 64 << 20  # bytes that any archive may unpack to, however small it is
PER_MEMBER = 4096  # bytes of a tar that are nobody's content: headers and padding
MOST_PATH = paths.MAX_PATH - 512  # bytes: the folder that it is unpacked into has a path, too
MOST_DEEP = 256  # folders in each other: real ones have some dozens, and tools that call themselves per level end at 1,000
MOST_TARGET = 4095  # bytes of a link's target, PATH_MAX of Linux without its NUL

MOST_TOLD = 600  # bytes of a name in a message: twice what a file's name can have, and something
FILE, FOLDER, LINK, HARD_LINK = "f", "d", "l", "h"
_WORDS = {FILE: "a file", FOLDER: "a folder", LINK: "a link", HARD_LINK: "a hard link"}
_ROOT = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may come out of one archive. `bytes` of contents, `files` of files, folders and links.

    `ratio`: unpacked bytes for each of the archive's; None: not judged.
    """

    bytes: int = MOST_BYTES
    files: int = MOST_FILES
    ratio: int | None = MOST_RATIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member as the archive has it. `name` and `target` (of links of both kinds) are bytes as they stand there.

    `kind` is FILE, FOLDER, LINK, HARD_LINK, or what it is else: `a device`. `mode` holds the permissions, `mtime` is in ns,
    `size` what the archive claims.
    """

    name: bytes
    kind: str
    mode: int = 0o644
    mtime: int = 0
    size: int = 0
    target: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a member goes: its path below the folder (empty: the folder itself), and of a hard link that of its file."""

    path: bytes
    same_as: bytes = b""


@dataclass(kw_only=True)
class Judge:
    """The judgement over one archive, member by member, in its order. Everything here raises ArchiveRefused.

    `archive` is how messages call it, `packed` its size in bytes.
    """

    archive: str
    packed: int
    limits: Limits
    count: int = 0  # files, folders and links so far
    total: int = 0  # bytes of contents so far
    _kinds: dict[bytes, str] = field(default_factory=lambda: {_ROOT: FOLDER})
    _stream: int = 0
    _now: bytes = _ROOT

    def at(self, name: bytes) -> None:
        """The member with this name is the present one, for messages."""
        self._now = name

    def admitted(self, member: Member) -> Place:
        """Where `member` goes."""
        self.at(member.name)
        path = self._path(member.name)
        if member.kind not in _WORDS:
            raise self.refusal(f"it is {member.kind}")
        if member.size < 0 or member.size > self.limits.bytes:
            raise self._too_much()
        self._above(path)
        same_as = self._file_of(member.target) if member.kind == HARD_LINK else _ROOT
        if member.kind == LINK and (why := _link_fault(path, member.target)):
            raise self.refusal(f"{why}: it points to {printable(member.target)!r}")
        self._take(path, FILE if member.kind == HARD_LINK else member.kind)
        return Place(path=path, same_as=same_as)

    def unpacked(self, size: int) -> None:
        """So many bytes of the present member's content came out."""
        self.total += size
        if self.total > self.limits.bytes:
            raise self._too_much()
        self._in_proportion(self.total)

    def streamed(self, size: int) -> None:
        """So many bytes of a compressed stream, contents and all that is around them, came out."""
        self._stream += size
        if self._stream > self.limits.bytes + PER_MEMBER * self.limits.files:
            raise self._too_much()
        self._in_proportion(self._stream)

    def refusal(self, why: str, *, hint: str = "") -> ArchiveRefused:
        """The refusal that names the present member."""
        name = _told(self._now) if self._now else "a member without a name"
        return ArchiveRefused(
            f"{self.archive} is refused: {name}: {why}",
            hint=hint or "nothing was unpacked; make the archive anew without it",
        )

    def damaged(self, why: str) -> ArchiveRefused:
        """The refusal of an archive that is not whole, or none; it names the member at which that was found."""
        where = f" at or behind {_told(self._now)}" if self._now else ""
        return ArchiveRefused(
            f"{self.archive} is refused: {why}{where}",
            hint="nothing was unpacked; build or copy it once more",
        )

    def _path(self, name: bytes) -> bytes:
        """The path of a member: `./a//b/` is `a/b`."""
        if not name:
            raise self.refusal("its name is empty")
        if name.startswith(b"/"):
            raise self.refusal("its path is absolute")
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise self.refusal("its path leads upwards")
        path = b"/".join(parts)
        if len(path) > MOST_PATH:
            raise self.refusal(f"its path has {len(path):,} bytes")
        if len(parts) > MOST_DEEP:
            raise self.refusal(f"it lies more than {MOST_DEEP} folders deep")
        if path:
            try:
                paths.check(path)
            except paths.PathError as error:
                raise self.refusal(str(error)) from error
        return path

    def _above(self, path: bytes) -> None:
        """The folders that it lies in; those that nobody has named are made."""
        cut = path.find(b"/")
        while cut > 0:
            folder = path[:cut]
            if self._kinds.get(folder, FOLDER) != FOLDER:
                raise self.refusal(f"it lies behind {_WORDS[self._kinds[folder]]}, {printable(folder)}")
            if folder not in self._kinds:
                self._take(folder, FOLDER)
            cut = path.find(b"/", cut + 1)

    def _file_of(self, target: bytes) -> bytes:
        """The path of the file that a hard link is another name of."""
        try:
            path = self._path(target)
        except ArchiveRefused as error:
            raise self.refusal(f"a hard link that leads out: it is {printable(target)!r}") from error
        if self._kinds.get(path) != FILE:
            raise self.refusal(f"a hard link to {printable(target)!r}, which is no file before it")
        return path

    def _take(self, path: bytes, kind: str) -> None:
        before = self._kinds.get(path)
        if before is not None:
            if before == kind == FOLDER:
                return
            twice = (
                f"{_WORDS[before]} and {_WORDS[kind]} have this path" if before != kind else "it comes twice"
            )
            raise self.refusal(twice)
        self._kinds[path] = kind
        self.count += 1
        if self.count > self.limits.files:
            raise self.refusal(
                f"the archive holds more than {self.limits.files:,} files, folders and links",
                hint="if that is as it should be, raise the limit with --max-files",
            )

    def _too_much(self) -> ArchiveRefused:
        return self.refusal(
            f"the archive unpacks to more than {self.limits.bytes:,} bytes",
            hint="if that is as it should be, raise the limit with --max-size",
        )

    def _in_proportion(self, size: int) -> None:
        ratio = self.limits.ratio
        if ratio is not None and size > FREE_OF_RATIO and size > ratio * self.packed:
            raise self.refusal(
                f"the archive unpacks to more than {ratio} times its size",
                hint="if that is as it should be, say with --max-size how large it may become",
            )


def _told(name: bytes) -> str:
    """A member's name for messages; of a very long one its beginning and its end."""
    cut = name if len(name) <= MOST_TOLD else name[: MOST_TOLD // 2] + b" ... " + name[-MOST_TOLD // 2 :]
    return printable(cut)


def _link_fault(path: bytes, target: bytes) -> str:
    """Why a link is refused, or ""."""
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    climbs = names.count(b"..")
    if b"\0" in target or len(target) > MOST_TARGET:
        return "a link whose target is no path"
    if not path or not paths.link_stays_inside(path, target):
        return "a link that leads out"
    if any(name != b".." for name in names[:climbs]):
        return "a link with '..' behind a name"
    return ""


def ending_of(file: str) -> str | None:
    """The ending by which a file is known as an archive: `.war`, `.tar.gz`; None where it is none."""
    small = file.lower()
    return next((file[-len(end) :] for end in ENDINGS if small.endswith(end) and len(file) > len(end)), None)


def is_zip(file: str) -> bool:
    """Whether a file with this name is read as a zip."""
    return file.lower().endswith(ZIP_ENDINGS)


def file_mode(mode: int) -> int:
    """The permissions of an unpacked file: as they were, without setuid and its kin; its owner can read it."""
    return mode & 0o777 | 0o400


def folder_mode(mode: int) -> int:
    """The same of a folder: its owner can change what is in it."""
    return mode & 0o777 | 0o700

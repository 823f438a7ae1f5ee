"""What is kept on a node about an instance: where it stands, its manifest, the lock.

What lives here: reading and writing `.dasctl/`. Whatever is damaged there counts as not known: the contents on disk are
then found out by looking. What must not: the commit (`commit.py`), the process record (`process.py`).
"""

from __future__ import annotations

from dasctl.remote import disk as on_disk
from dasctl.remote import handles as by_handle
from dasctl.remote import paths, quick_json, words
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

DOT = b".dasctl"
STATE = DOT + b"/state.json"
MANIFEST = DOT + b"/manifest"
JOURNAL = DOT + b"/journal"
LOCK = DOT + b"/lock"
STAGING = DOT + b"/staging"
REPLACED = DOT + b"/replaced"
MOST_STATE = 1 << 20  # bytes
MOST_MANIFEST = 1 << 30  # bytes
LOCK_WAIT_S = 5.0
OURS = (DOT, STAGING)
FOLDERS = (*OURS, b"local", b"logs", b"run")


class Failure(Exception):
    """One instance's part of a request cannot be carried out; `hint` says what to do. `lacks_space`: the disk is full."""

    def __init__(self, message: str, hint: str = "", *, lacks_space: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.lacks_space = lacks_space


class Kept:
    """What the node knows of an instance. `at` None: nothing stands there. `newer` says which file is of a newer format.

    parts: name to canonical bytes, in order; listing: [[name, digest], …]; exceptions: printable path to
    {"kind": …, "entry": line or None}.
    """

    __slots__ = ("at", "exceptions", "listing", "newer", "parts")

    def __init__(self) -> None:
        self.at: dict[str, Any] | None = None
        self.listing: list[list[str]] = []
        self.parts: dict[str, bytes] = {}
        self.exceptions: dict[str, dict[str, Any]] = {}
        self.newer = ""

    def lines(self) -> dict[bytes, bytes]:
        """Path to line of all that was synchronised, in the manifest's order."""
        return lines_of(self.parts.values())

    def overridden(self) -> dict[bytes, bytes]:
        """Path to line of the copies of `local/` files; an empty line: nothing is to be there."""
        return {
            paths.from_printable(path): paths.from_printable(item["entry"] or "")
            for path, item in self.exceptions.items()
            if item["kind"] == words.OVERRIDDEN
        }

    def ancestor(self) -> dict[bytes, bytes]:
        """Path to line of what the last synchronisation left on disk."""
        lines = self.lines()
        for path, line in self.overridden().items():
            if line:
                lines[path] = line
            else:
                lines.pop(path, None)
        for text, item in self.exceptions.items():
            if item["kind"] == words.EXTRA:
                lines.pop(paths.from_printable(text), None)  # kept in its place: we did not put it there
        return lines


def lines_of(parts: Any) -> dict[bytes, bytes]:
    """Path to line of parts in canonical bytes."""
    lines: dict[bytes, bytes] = {}
    for data in parts:
        if data:
            found = data[:-1].split(b"\0")
            lines.update(zip([line.split(b" ", 5)[5] for line in found], found))
    return lines


def lines_after(
    lines: dict[bytes, bytes], before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> dict[bytes, bytes]:
    """`lines_of` the parts `after`, by name, given those of `before`: what both have in common is not looked at."""
    from dasctl.remote import manifest

    if list(before) != list(after):
        return lines_of(after.values())
    found = dict(lines)
    for name, data in after.items():
        start, old_end, end = manifest.trimmed(before[name], data)
        old, new = before[name][start:old_end].split(b"\0"), data[start:end].split(b"\0")
        others = [pair for pair in zip(old, new) if pair[0] != pair[1]]
        if len(old) != len(new) or any(_path(one) != _path(other) for one, other in others):
            return lines_of(after.values())  # the order is the manifest's
        found.update([(_path(line), line) for _, line in others])
    return found


def _path(line: bytes) -> bytes:
    return line.split(b" ", 5)[5] if line else b""


class Place:
    """An instance's folder, open. `close` frees the lock and the handles."""

    def __init__(self, name: str, path: str, root: int, before: Callable[[str], None]) -> None:
        self.name = name
        self.path = path
        self.root = root
        self.disk = on_disk.Disk(root, before)
        self.handles = self.disk.handles
        self._lock = -1

    def lock(self, wait_s: float = LOCK_WAIT_S, create: bool = True) -> None:
        """Hold the instance's lock. Without `create`, a lock that is not there needs no holding."""
        import fcntl
        import time

        if self._lock >= 0:
            return
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder, name = self.handles.parent(LOCK)
            handle = os.open(name, flags | (os.O_CREAT if create else 0), 0o600, dir_fd=folder)
        except OSError as error:
            if not create and by_handle.absent(error):
                return
            raise
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = handle
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(handle)
                    raise Failure(
                        "%s is busy: another command is changing it" % self.name,
                        "try again when the other command has finished",
                    ) from None
                time.sleep(0.05)

    def holds_lock(self) -> bool:
        """Whether the lock that we hold is the one that others would meet: its file was neither removed nor replaced."""
        if self._lock < 0:
            return False
        mine, there = os.fstat(self._lock), by_handle.lstat(self.handles, LOCK)
        return there is not None and (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        self.unlock()
        self.handles.forget()
        if self.root >= 0:
            os.close(self.root)
            self.root = -1


def node_path(text: str) -> str:
    """The absolute path of a node's directory, given as absolute or beginning with `~/`."""
    if text[:1] == "/" and "\0" not in text and {"", ".", ".."}.isdisjoint(text[1:].split("/")):
        return text
    from os.path import expanduser, normpath

    path = expanduser(text) if text == "~" or text.startswith("~/") else text
    if not path.startswith("/") or "\0" in path:
        raise Failure("the node's directory is not absolute: %r" % text)
    return normpath(path)


def below(folder: str, name: str) -> str:
    """The path of `name`, which is not absolute, in `folder`, which is."""
    return folder + name if folder.endswith("/") else folder + "/" + name


def open_place(
    node: str,
    name: str,
    *,
    create: bool,
    before: Callable[[str], None] = lambda operation: None,
    folders: tuple[bytes, ...] = FOLDERS,
) -> Place | None:
    """The folder of instance `name` below the node's directory; None where there is none and `create` is not asked.
    `folders`: made in it with `create`."""
    path = below(node, name)
    try:
        if create:
            _make(node, path)
        root = os.open(path, by_handle.FOLDER)
    except FileNotFoundError:
        return None
    except OSError as error:
        if not create and by_handle.absent(error):
            return None
        raise explained(error, path) from error
    place = Place(name, path, root, before)
    if create:
        try:
            furnish(place, folders)
        except OSError as error:
            place.close()
            raise explained(error, path) from error
    return place


def _make(node: str, path: str) -> None:
    """Make the folder `path`, and the node's directory above it, where they are missing."""
    try:
        os.mkdir(path)
        return
    except FileExistsError:
        return
    except OSError:
        pass  # what is above is not there, or nothing can be made in it
    from os import makedirs

    try:
        makedirs(node, exist_ok=True)
    except OSError as error:
        raise explained(error, node) from error
    try:
        os.mkdir(path)
    except FileExistsError:
        pass


def in_staging(place: Place) -> list[bytes]:
    """The names in staging, which is empty most of the time; none where it cannot be looked into."""
    try:
        return by_handle.names(place.handles, STAGING)
    except OSError:
        return []


def furnish(place: Place, folders: tuple[bytes, ...] = FOLDERS) -> None:
    """Make the folders that are the server's own and ours, where they are missing."""
    for folder in folders:
        status = by_handle.lstat(place.handles, folder)
        if status is None:
            place.disk.mkdir(folder)
            if folder in (b"local", b"logs", b"run"):
                place.disk.dress_folder(folder, 0o755, on_disk.LEAVE)
        elif status.st_mode & 0o170000 != 0o040000 and folder in (DOT, STAGING):
            raise Failure(
                "%s/%s is not a folder" % (place.path, paths.printable(folder)), "move it out of the way"
            )


def explained(error: OSError, path: str) -> Failure:
    """An error of the operating system in words, with what to do."""
    import errno

    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            "no space left on %s (%s)" % (path, reason),
            "free some space on the node and try again",
            lacks_space=True,
        )
    if error.errno == errno.EROFS:
        return Failure(
            "%s is on a read-only file system" % path, "mount it writable, or choose another node dir"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(
            "no permission in %s (%s)" % (path, reason),
            "make it belong to the user that dasctl logs in as, or choose another node dir",
        )
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EEXIST):
        return Failure(
            "%s is not a folder, or a symbolic link leads through it" % path, "move it out of the way"
        )
    return Failure("%s: %s" % (path, reason), "look at it on the node, then try again")


def load(place: Place, with_parts: bool = True) -> Kept:
    """What is known of the instance. Raises OSError only where files are there that cannot be read."""
    kept = Kept()
    known = _load_state(place, kept)
    if known and with_parts:
        known = _load_manifest(place, kept)
    if not known:
        kept.at, kept.listing, kept.parts, kept.exceptions = None, [], {}, {}
    return kept


def _load_state(place: Place, kept: Kept) -> bool:
    data = by_handle.contents(place.handles, STATE, MOST_STATE)
    if data is None:
        return True
    state = _object(data)
    if state is None:
        return False
    if _is_newer(state):
        kept.newer = "%s was written by a newer dasctl (format %s)" % (
            below(place.path, ".dasctl/state.json"), state["format"],
        )  # fmt: skip
        return True
    state.pop("format", None)
    if not _is_stamp(state):
        return False
    kept.at = state
    return True


def _is_stamp(state: Mapping[str, Any]) -> bool:
    texts = all(isinstance(state.get(key), str) for key in ("domain", "digest"))
    return texts and all(type(state.get(key)) is int for key in ("epoch", "config_id", "revision"))


def _load_manifest(place: Place, kept: Kept) -> bool:
    data = by_handle.contents(place.handles, MANIFEST, MOST_MANIFEST)
    if data is None:
        return kept.at is None
    end = data.find(b"\n")
    header = _object(data[: max(end, 0)])
    if header is None:
        return False
    if _is_newer(header):
        kept.newer = "%s was written by a newer dasctl (format %s)" % (
            below(place.path, ".dasctl/manifest"), header["format"],
        )  # fmt: skip
        return True
    if header.get("crc", crc := _crc(memoryview(data)[end + 1 :])) != crc:
        return False
    try:
        start = end + 1
        for name, digest, size in header["parts"]:
            part = data[start : start + size]
            if len(part) != size or (part and part[-1:] != b"\0"):
                return False
            kept.listing.append([name, digest])
            kept.parts[name] = part
            start += size
        kept.exceptions = header["exceptions"]
        kept.overridden()
        if any(line.count(b" ") < 5 for part in kept.parts.values() for line in _ends(part)):
            return False
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return start == len(data)


def _ends(part: bytes) -> list[bytes]:
    """The first and the last line of a part: a file that was overwritten with something else shows there."""
    return [part[: part.find(b"\0")], part[part.rfind(b"\0", 0, -1) + 1 : -1]] if part else []


def manifest_bytes(parts: list[tuple[str, str, bytes]], exceptions: Mapping[str, Any]) -> bytes:
    """The file `manifest`: `parts` are (name, digest, canonical bytes)."""
    body = b"".join(p[2] for p in parts)
    header = {
        "format": words.STATE_FORMAT,
        "parts": [[name, digest, len(data)] for name, digest, data in parts],
        "exceptions": exceptions,
        "crc": _crc(body),
    }
    return quick_json.dumps(header).encode("ascii") + b"\n" + body


def _crc(data: bytes | memoryview) -> int:
    """Against a disk that forgets. The parts' digests would tell as well, but hashlib is slow to import; zlib is there."""
    import zlib

    return zlib.crc32(data)


def stamp_of(domain: str, epoch: int, lead: Mapping[str, Any]) -> dict[str, Any]:
    """Where an instance stands after it was led to `lead`."""
    return {
        "domain": domain, "epoch": epoch, "config_id": lead["config_id"], "revision": lead["revision"],
        "digest": lead["digest"], "who": lead.get("who", ""), "host": lead.get("host", ""),
        "when": lead.get("when", 0), "command": lead.get("command", ""),
    }  # fmt: skip


def state_bytes(at: Mapping[str, Any]) -> bytes:
    """The file `state.json`."""
    return quick_json.dumps_indented(dict(at, format=words.STATE_FORMAT)).encode("ascii") + b"\n"


def remember_epoch(place: Place, kept: Kept, epoch: int) -> None:
    """A higher epoch is the new authority."""
    if kept.at is not None and epoch > kept.at["epoch"]:
        kept.at["epoch"] = epoch
        place.disk.write(STATE, state_bytes(kept.at))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = quick_json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_newer(value: Mapping[str, Any]) -> bool:
    number = value.get("format")
    return type(number) is int and number > words.STATE_FORMAT

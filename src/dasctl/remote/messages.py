"""Requests check themselves on arrival: types, limits, names, paths. Nothing is used before it went through here.

What lives here: the shapes of docs/protocol.md. What must not: files, decisions.
"""

from __future__ import annotations

from dasctl.remote import manifest, paths, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Header = dict[str, Any]

MOST_INSTANCES = 10_000
MOST_PARTS = 100_000
MOST_PATTERNS = 10_000
MOST_READ = 10_000  # paths of a `read`
MOST_CONTENTS = 1_000_000  # of a `stage`
MOST_MODTIME_NS = (1 << 62) * 1_000_000_000  # what the kernel takes, 64 bits of seconds, with room to spare


class BadMessage(Exception):
    """The request is not what the protocol allows."""


def need(header: Header, key: str, kind: type | tuple[type, ...]) -> Any:
    """The value at `key`, which must be of `kind`; a bool is no number."""
    value = header.get(key)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise BadMessage("%s: %r is not allowed there" % (key, value))
    return value


def optional(header: Header, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """The value at `key`, or `default` where it is absent or null."""
    return default if header.get(key) is None else need(header, key, kind)


def one_of(header: Header, key: str, allowed: tuple[str, ...], default: str) -> str:
    """The word at `key`."""
    value = optional(header, key, str, default)
    if value not in allowed:
        raise BadMessage("%s: %r is none of %s" % (key, value, ", ".join(allowed)))
    return str(value)


def instances(header: Header, check: Callable[[Header], Header]) -> list[Header]:
    """The checked instances of a request, none of them twice."""
    items = need(header, "instances", list)
    if len(items) > MOST_INSTANCES:
        raise BadMessage("%d instances in one request" % len(items))
    seen: set[str] = set()
    for item in items:
        if not isinstance(item, dict):
            raise BadMessage("instances: %r is not an object" % (item,))
        known = name(item, "name")
        if known in seen:
            raise BadMessage("%s twice in one request" % known)
        seen.add(known)
    return [check(item) for item in items]


def common(header: Header) -> Header:
    """What all requests about instances carry."""
    return {
        "op": need(header, "op", str),
        "dir": need(header, "dir", str),
        "domain": need(header, "domain", str),
        "epoch": optional(header, "epoch", int, 0),
        "local": optional(header, "local", bool, False),
        "dry_run": optional(header, "dry_run", bool, False),
        "probe": optional(header, "probe", bool, False),
        "hold": optional(header, "hold", bool, False),
        "changes": one_of(header, "changes", ("first", "all"), "first"),
    }


def look_instance(item: Header) -> Header:
    """An instance of `look`."""
    return {"name": item["name"]}


def guarded(item: Header) -> Header:
    """An instance of `start`, `stop`, `reload`, `remove`, and what `sync` shares with them."""
    return {
        "name": item["name"],
        "expect": _standing(item),
        "lead": _lead(item),
        "config_id": optional(item, "config_id", int),
        "wait": optional(item, "wait", bool, True),
        "kill": optional(item, "kill", bool, False),
        "outdated": optional(item, "outdated", bool, False),
        "grace": _seconds(item, "grace"),
        "keep_files": optional(item, "keep_files", bool, False),
    }


def sync_instance(item: Header) -> Header:
    """An instance of `sync`."""
    checked = guarded(item)
    if checked["lead"] is None:
        raise BadMessage("%s: a synchronisation has to lead somewhere" % item["name"])
    checked["software"] = _is_software(item)
    checked.update(
        parts=_parts(item, checked["software"]),
        criterion=one_of(item, "criterion", ("modtime", "hash"), "modtime"),
        deviations=one_of(item, "deviations", ("overwrite", "keep", "fail"), "overwrite"),
        full=optional(item, "full", bool, False),
        only=patterns(item, "only"),
    )
    checked["except"] = patterns(item, "except")
    checked["excluded"] = patterns(item, "excluded")
    checked["keep"] = patterns(item, "keep")
    # Absent: allowed. Who asks with care says so, and the DAS always does.
    checked["mass_deletion"] = optional(item, "mass_deletion", bool, True)
    return checked


def _is_software(item: Header) -> bool:
    """Whether the folder is not an instance's, but that of the node's releases."""
    found: bool = optional(item, "software", bool, False)
    if found and item["name"] != words.SOFTWARE:
        raise BadMessage("releases lie in %s, not in %s" % (words.SOFTWARE, item["name"]))
    return found


def deviations_instance(item: Header) -> Header:
    """An instance of `deviations`."""
    known = {key: patterns(item, key) for key in ("only", "except", "excluded", "keep")}
    return {"name": item["name"], "verify": optional(item, "verify", bool, False), **known}


def read_instance(item: Header) -> Header:
    """An instance of `read`; its paths as bytes."""
    texts = optional(item, "paths", list, [])
    most = optional(item, "most", int, 0)
    if len(texts) > MOST_READ or most < 0:
        raise BadMessage("%d paths, of at most %d bytes each" % (len(texts), most))
    return {"name": item["name"], "paths": [_readable(text) for text in texts], "most": most}


def _readable(text: Any) -> bytes:
    """A path in an area, or below `local/`: what the server keeps elsewhere, and we in `.dasctl/`, is not for showing."""
    try:
        path = paths.check(paths.from_printable(need({"paths": text}, "paths", str)))
    except (paths.PathError, UnicodeError) as error:
        raise BadMessage(str(error)) from None
    if path.partition(b"/")[0].decode("latin-1") not in (*words.AREAS, "local"):
        raise BadMessage("not a path of the synchronised folders: %r" % text[:120])
    return path


def staged(header: Header) -> tuple[str, dict[bytes, int]]:
    """The instance of a `stage`, and the contents that may come: digest to bytes."""
    items = need(header, "contents", list)
    if len(items) > MOST_CONTENTS:
        raise BadMessage("%d contents in one request" % len(items))
    announced = {}
    for item in items:
        if (
            not isinstance(item, list)
            or len(item) != 2
            or type(item[1]) is not int
            or not 0 <= item[1] < 1 << 62
        ):
            raise BadMessage("contents: %r" % (item,))
        announced[digest({"contents": item[0]}, "contents").encode()] = item[1]
    return name(header, "instance"), announced


def name(header: Header, key: str) -> str:
    """The name of an instance."""
    value = need(header, key, str)
    try:
        return paths.check_name(value)
    except (paths.PathError, UnicodeError) as error:
        raise BadMessage(str(error)) from None


def blobs(header: Header) -> list[Header]:
    """The announced blobs of a `sync`."""
    items = optional(header, "blobs", list, [])
    if len(items) > MOST_PARTS:
        raise BadMessage("%d blobs in one request" % len(items))
    checked = []
    for item in items:
        if not isinstance(item, dict) or need(item, "size", int) < 0:
            raise BadMessage("blobs: %r" % (item,))
        base = None if item.get("base") is None else digest(item, "base")
        checked.append({"part": digest(item, "part"), "base": base, "size": item["size"]})
    return checked


def digest(header: Header, key: str) -> str:
    """A SHA-256 in lower-case hex."""
    value = need(header, key, str)
    if len(value) != 64 or value.strip("0123456789abcdef"):
        raise BadMessage("%s: not a digest: %r" % (key, value[:80]))
    return str(value)


def part_entries(name: str, data: bytes, known: bytes = b"") -> list[tuple[bytes, bytes]] | None:
    """Check the canonical bytes of a part that came through the wire. `known`: those of a part of the same name that was
    checked before; what it has in common with `data` is not checked again.

    Where both have the same paths, folders at the same ones, returns (path, line) of the lines that differ; None elsewhere.
    """
    root = paths.from_printable(name)
    if not data.endswith(b"\0") and data:
        raise BadMessage("part %s: a manifest that is cut off" % name)
    start, known_end, end = manifest.trimmed(known, data)
    lines, before = data[start:end].split(b"\0")[:-1], known[start:known_end].split(b"\0")[:-1]
    try:
        differing = _one_by_one(before, lines)
        if differing is not None:
            return differing  # the same paths in the same order, and the same folders
        if not before and len(lines) == data.count(b"\0") and _well_formed(name, root, lines):
            return None
        checked = set(before)
        for line in lines if not checked else [line for line in lines if line not in checked]:
            _line(name, root, line)
        _order(name, data, start, end, lines)
        if not start and end == len(data):
            folders = {_path(line) for line in lines if line[:1] == b"d"}
            _folders_there(name, root, lines, folders.__contains__)
        elif _has_lost_folders(before, lines):
            lines = data[:-1].split(b"\0")
            folders = {_path(line) for line in lines if line[:1] == b"d"}
            _folders_there(name, root, lines, folders.__contains__)
        else:
            _folders_there(name, root, lines, lambda path: _is_folder(data, path))
    except (manifest.ManifestError, paths.PathError) as error:
        raise BadMessage("part %s: %s" % (name, error)) from None
    return None


def _well_formed(name: str, root: bytes, lines: list[bytes]) -> bool:
    """Check all lines of a part in one go; False where something is wrong, or odd: then the ordinary way says what."""
    if name in ("applications", words.RELEASES):
        return False  # nothing lies in their folder
    folders: set[bytes] = set()
    previous = b""
    try:
        for line in lines:
            kind, mode, size, mtime, digest, path = line.split(b" ", 5)
            folder, _, last = path.rpartition(b"/")
            if kind != b"f":
                _line(name, root, line)
                if kind == b"d":
                    folders.add(path)
            elif (
                len(digest) != 64
                or digest.strip(b"0123456789abcdef")
                or not 0 < len(last) <= paths.MAX_NAME
                or last in (b".", b"..")
                or len(path) > paths.MAX_PATH
                or not 0 <= int(mode, 8) <= 0o7777
                or not 0 <= int(size) < 1 << 62
                or not -MOST_MODTIME_NS < int(mtime) < MOST_MODTIME_NS
            ):
                return False
            key = manifest.order(path)
            if key <= previous or (folder not in folders and (path != root or kind == b"f")):
                return False  # what lies in a folder that was checked lies below the root
            previous = key
    except ValueError:
        return False
    return True


def _one_by_one(before: list[bytes], lines: list[bytes]) -> list[tuple[bytes, bytes]] | None:
    """(path, line) of those that differ, checked, where each is about the same path as before, and a folder if that was
    one; else None."""
    if len(before) != len(lines):
        return None
    differing = []
    for old, line in [pair for pair in zip(before, lines) if pair[0] != pair[1]]:
        was, now = old.split(b" ", 5), line.split(b" ", 5)
        if len(now) != 6 or was[0] != now[0] or was[5] != now[5]:
            return None
        if was[1] != now[1] or was[2] != now[2] or was[4] != now[4]:
            _entry(manifest.parse(line))
        else:
            _modtime(line, now[3])
        differing.append((now[5], line))
    return differing


def _modtime(line: bytes, text: bytes) -> None:
    """What is left to check of a line that differs from a checked one by its modtime."""
    try:
        if -MOST_MODTIME_NS < int(text) < MOST_MODTIME_NS:
            return
    except ValueError:
        pass
    _entry(manifest.parse(line))  # says what is wrong


def _line(name: str, root: bytes, line: bytes) -> None:
    entry = manifest.parse(line)
    path = paths.check(entry.path)
    alone = name in ("applications", words.RELEASES)
    if path != root and (alone or not path.startswith(root + b"/")):
        raise BadMessage("part %s: %r does not belong there" % (name, path))
    if path == root and entry.kind != "d":
        raise BadMessage("part %s is not a folder" % name)
    _entry(entry)


def _order(name: str, data: bytes, start: int, end: int, lines: list[bytes]) -> None:
    """Every line stands behind the one that it follows in canonical order. `lines` are those of data[start:end]; the ones
    around them are in order."""
    around = data[data.rfind(b"\0", 0, start - 1) + 1 : start - 1] if start else b""
    behind = data[end : data.find(b"\0", end)]
    previous = manifest.order(_path(around)) if around else b""
    for line in [*lines, behind] if behind else lines:
        key = manifest.order(_path(line))
        if key <= previous:
            raise BadMessage("part %s: a manifest out of order at %r" % (name, _path(line)))
        previous = key


def _has_lost_folders(before: list[bytes], lines: list[bytes]) -> bool:
    """Whether a folder of what was there is none any more: what is in it may lie anywhere behind."""
    folders = {_path(line) for line in lines if line[:1] == b"d"}
    return any(_path(line) not in folders for line in before if line[:1] == b"d")


def _is_folder(data: bytes, path: bytes) -> bool:
    start, end = manifest.position(data, path)
    return start < end and data[start : start + 1] == b"d"


def _folders_there(name: str, root: bytes, lines: list[bytes], is_there: Callable[[bytes], bool]) -> None:
    above = {_path(line).rpartition(b"/")[0] for line in lines}
    for folder in above - {root.rpartition(b"/")[0]}:
        if not is_there(folder):
            raise BadMessage("part %s: the folder %r is missing" % (name, folder))


def _path(line: bytes) -> bytes:
    return line.split(b" ", 5)[5]


def _entry(entry: manifest.Entry) -> None:
    if (
        not 0 <= entry.mode <= 0o7777
        or not 0 <= entry.size < 1 << 62
        or not -MOST_MODTIME_NS < entry.mtime < MOST_MODTIME_NS
    ):
        raise BadMessage("%r: mode, size or modtime is out of range" % entry.path)
    if entry.kind == "l" and not paths.link_stays_inside(_below_release(entry.path), entry.digest):
        raise BadMessage("%r: a symbolic link that leads out, to %r" % (entry.path, entry.digest))
    if entry.kind == "f" and entry.digest.strip(b"0123456789abcdef"):
        raise BadMessage("%r: not a digest" % entry.path)


def _below_release(path: bytes) -> bytes:
    """The path within a release, out of which no link of it may lead; any other path as it is."""
    area, _, rest = path.partition(b"/")
    return rest.partition(b"/")[2] if area == words.RELEASES.encode() else path


def _parts(item: Header, software: bool) -> list[list[str]]:
    parts = need(item, "parts", list)
    if len(parts) > MOST_PARTS:
        raise BadMessage("%d parts of one instance" % len(parts))
    seen: set[str] = set()
    for pair in parts:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise BadMessage("parts: %r" % (pair,))
        digest({"parts": pair[1]}, "parts")
        _part_name(pair[0], software)
        if pair[0] in seen:
            raise BadMessage("part %s twice" % pair[0])
        seen.add(pair[0])
    return parts  # type: ignore[no-any-return]


def _part_name(name: str, software: bool) -> None:
    area, slash, rest = name.partition("/")
    areas = (words.RELEASES,) if software else words.AREAS
    if area not in areas or (slash and area not in ("applications", words.RELEASES)) or "/" in rest:
        raise BadMessage("not the name of a part: %r" % name)
    try:
        paths.check(paths.from_printable(name))
    except paths.PathError as error:
        raise BadMessage(str(error)) from None


def patterns(item: Header, key: str) -> list[str] | None:
    """The regular expressions at `key`; None where it is absent or null."""
    given: list[str] | None = optional(item, key, list)
    if not given:
        return given
    import re

    if len(given) > MOST_PATTERNS:
        raise BadMessage("%s: %d patterns" % (key, len(given)))
    try:
        for pattern in given:
            re.compile(need({key: pattern}, key, str))
    except (re.error, RecursionError, OverflowError):
        raise BadMessage("%s: %r is not a pattern" % (key, pattern)) from None
    return given


def _standing(item: Header) -> list[Any] | None:
    expect: list[Any] | None = optional(item, "expect", list)
    if expect is not None and (
        len(expect) != 2 or type(expect[0]) is not int or not isinstance(expect[1], str)
    ):
        raise BadMessage("expect: %r" % (expect,))
    return expect


def _lead(item: Header) -> Header | None:
    lead: Header | None = optional(item, "lead", dict)
    if lead is not None:
        for key in ("config_id", "revision"):
            need(lead, key, int)
        need(lead, "digest", str)
        for key in ("who", "host", "command"):
            optional(lead, key, str)
        optional(lead, "when", (int, float))
    return lead


def _seconds(item: Header, key: str) -> float | None:
    value = optional(item, key, (int, float))
    if value is not None and not 0 <= value < 1e9:
        raise BadMessage("%s: %r seconds" % (key, value))
    return None if value is None else float(value)

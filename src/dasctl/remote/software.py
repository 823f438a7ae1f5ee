"""`software` and `switch`: the releases of the servers' own software on this node, and which of them is `current`.

What lives here: looking at NODE_DIR/software, moving its link `current` by one rename, and what must not be removed from it.
What must not: bringing releases (`sync.py` does, as it brings instances), folders of others (`others_folder.py`).
"""

from __future__ import annotations

import os
import stat

from dasctl.remote import asked, commit, guard, messages, paths, process, release, state, words
from dasctl.remote import handles as by_handle
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dasctl.remote.wire import Link
    from dasctl.remote.work import Work

    Reply = dict[str, Any]

LINK = release.CURRENT.encode()
NEW_LINK = state.DOT + b"/current.new"
AREA = words.RELEASES.encode()
MOST_FOLDERS = 100  # of others, in one request


def answer(link: Link, header: Reply, before: Callable[[str], None]) -> Reply:
    """Answer a `software` or a `switch`."""
    from dasctl.remote.beats import Beating

    common = messages.common(header)
    request = _request(header, common["op"])
    node = state.node_path(common["dir"])
    with Beating(link):
        if common["op"] == words.SOFTWARE:
            reply = asked.safely(words.SOFTWARE, node, lambda: _look(common, request, node, before))
        else:
            reply = asked.safely(words.SOFTWARE, node, lambda: _switch(common, request, node, before))
    return {"reply": common["op"], "instances": [reply]}


def _request(header: Reply, op: str) -> Reply:
    """The one item of a request, checked."""
    (item, *more) = messages.need(header, "instances", list) or [None]
    if more or not isinstance(item, dict) or item.get("name") != words.SOFTWARE:
        raise messages.BadMessage("a %s is about %s alone" % (op, words.SOFTWARE))
    if op == words.SOFTWARE:
        folders = messages.optional(item, "folders", list, [])
        if len(folders) > MOST_FOLDERS:
            raise messages.BadMessage("%d folders" % len(folders))
        return {
            "folders": [_folder(folder) for folder in folders],
            "finish": messages.optional(item, "finish", bool, False),
        }
    checked = messages.guarded(item)
    checked.update(
        {"to": _target(messages.need(item, "to", str)), "from": messages.optional(item, "from", str)}
    )
    return checked


def _folder(text: Any) -> str:
    if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
        raise messages.BadMessage("not an absolute path: %r" % (text,))
    return text


def _target(text: str) -> str:
    """`releases/V`, or the absolute path of a folder."""
    area, _, name = text.partition("/")
    if area != words.RELEASES:
        return _folder(text)
    try:
        paths.check_name(name)
    except (paths.PathError, UnicodeError) as error:
        raise messages.BadMessage(str(error)) from None
    return text


# -- looking


def _look(common: Reply, request: Reply, node: str, before: Callable[[str], None]) -> Reply:
    reply: Reply = {
        "name": words.SOFTWARE, "verdict": words.DONE, "exists": False, "at": None, "parts": [], "releases": [],
        "left": [], "interrupted": False, "current": release.link_of(node), "path": release.path_of(node),
        "servers": list(_servers(node)), "free": _free(node), "folders": _folders(request, node),
    }  # fmt: skip
    place = state.open_place(node, words.SOFTWARE, create=False, before=before)
    if place is None:
        return reply
    try:
        if request["finish"] and commit.interrupted(place):
            place.lock()  # who is about to change something asks what there is once all is done that was begun
            commit.finish(place)
        kept = state.load(place)
        judged = _judged(common, kept)
        if judged.verdict is not None:
            return _turned_away(kept, judged)
        reply.update(
            exists=True, at=kept.at, parts=kept.listing, interrupted=commit.interrupted(place),
            releases=[_told(name, data) for name, data in kept.parts.items() if "/" in name],
            left=_left(place, kept),
        )  # fmt: skip
        return reply
    finally:
        place.close()


def _judged(common: Reply, kept: state.Kept, request: Reply | None = None) -> guard.Judgement:
    """Without a request that leads somewhere: wherever it stands, that was expected."""
    at = kept.at
    expect = None if at is None else [at["revision"], at["digest"]]
    return guard.judge(
        at, newer=kept.newer, domain=common["domain"], epoch=common["epoch"],
        expect=expect if request is None else request["expect"], lead=None, config_id=None, local=common["local"],
    )  # fmt: skip


def _turned_away(kept: state.Kept, judged: guard.Judgement) -> Reply:
    reply: Reply = {"name": words.SOFTWARE, "verdict": judged.verdict, "at": kept.at}
    if judged.verdict == words.STANDS:
        return {**reply, "parts": kept.listing, "missing": []}
    return {**reply, "reason": judged.reason, "message": judged.message}


def _told(name: str, data: bytes) -> list[Any]:
    """[version, files, bytes] of a part."""
    sizes = [int(line.split(b" ", 3)[2]) for line in data.split(b"\0") if line[:1] == b"f"]
    return [name.partition("/")[2], len(sizes), sum(sizes)]


def _left(place: state.Place, kept: state.Kept) -> list[str]:
    """Folders of releases that are not there any more: servers have written into them."""
    try:
        names = os.listdir(place.handles.folder(AREA))
    except OSError:
        return []
    return sorted(
        paths.printable(os.fsencode(name)) for name in names if "releases/" + name not in kept.parts
    )


def _free(node: str) -> int:
    """Bytes free where the nearest folder lies that exists."""
    while not os.path.isdir(node) and node != "/":
        node = os.path.dirname(node)
    found = os.statvfs(node)
    return found.f_bavail * found.f_frsize


def _servers(node: str) -> Iterator[Reply]:
    """The running servers of this node that were started with a release, with its real path and what it was called."""
    try:
        names = sorted(os.listdir(node))
    except OSError:
        return
    for name in names:
        record = _record(node, name)
        if record is not None and record.get("software") and process.members(record):
            yield {
                "name": name, "pid": record["pid"], "path": str(record["software"]),
                "release": str(record.get("release") or ""),
            }  # fmt: skip


def _record(node: str, name: str) -> process.Record | None:
    try:
        paths.check_name(name)
        place = state.open_place(node, name, create=False)
    except (paths.PathError, UnicodeError, Failure):
        return None
    if place is None:
        return None
    try:
        return process.load(place)
    except OSError:
        return None
    finally:
        place.close()


def _folders(request: Reply, node: str) -> list[Reply]:
    from dasctl.remote import others_folder

    return [others_folder.told(folder, node) for folder in request["folders"]]


# -- switching


def _switch(common: Reply, request: Reply, node: str, before: Callable[[str], None]) -> Reply:
    place = state.open_place(node, words.SOFTWARE, create=True, before=before, folders=state.OURS)
    assert place is not None
    try:
        place.lock()
        commit.finish(place)
        kept = state.load(place)
        judged = _judged(common, kept, request)
        if judged.verdict is not None:
            return _turned_away(kept, judged)
        if not common["local"]:
            state.remember_epoch(place, kept, common["epoch"])
        was = release.link_of(node)
        _check_target(place, kept, request["to"])
        _check_current(place, was, request)
        changed = was != request["to"]
        if changed:
            _point(place, request["to"])
        return {
            "name": words.SOFTWARE, "verdict": words.DONE if changed else words.UNCHANGED, "at": kept.at, "was": was,
            "current": request["to"], "path": release.path_of(node),
        }  # fmt: skip
    finally:
        place.close()


def _check_target(place: state.Place, kept: state.Kept, target: str) -> None:
    if target.startswith("/"):
        if not os.path.isdir(target):
            raise Failure(
                "there is no folder %s" % target, "install the software there, or name another folder"
            )
        return
    status = by_handle.lstat(place.handles, paths.from_printable(target))
    if target not in kept.parts or status is None or not stat.S_ISDIR(status.st_mode):
        version = target.partition("/")[2]
        raise Failure(
            "%s/%s is not installed" % (place.path, target), "dasctl install-node NODE --version %s" % version
        )


def _check_current(place: state.Place, was: str | None, request: Reply) -> None:
    """Compare and set: nobody has moved the link since the other end looked, or it has been where it goes."""
    if was not in (request["from"], request["to"]):
        raise Failure(
            "current leads to %s by now, not to %s" % (was, request["from"]),
            "somebody else switched it: try again",
        )
    status = by_handle.lstat(place.handles, LINK)
    if status is not None and not stat.S_ISLNK(status.st_mode):
        raise Failure("%s/current is not a symbolic link" % place.path, "move it out of the way")


def _point(place: state.Place, target: str) -> None:
    """The link is the old one or the new one at any moment, and after a power cut, too."""
    place.disk.remove_tree(NEW_LINK)
    place.disk.symlink(paths.from_printable(target), NEW_LINK)
    place.disk.rename(NEW_LINK, LINK)
    os.fsync(place.root)


# -- what must stay


def check_removed(work: Work, node: str) -> None:
    """Refuse to remove a release that is `current`, or that a running server was started from."""
    wanted = {name for name, _digest, _data in work.parts}
    for name in [name for name in work.kept.parts if name not in wanted and "/" in name]:
        version = name.partition("/")[2]
        folder = os.path.join(os.path.realpath(os.path.join(node, words.SOFTWARE)), name)
        if release.link_of(node) == name or release.path_of(node) == folder:
            raise Failure("%s is the current release" % version, "upgrade-node switches to another one")
        users = [told["name"] for told in _servers(node) if (told["path"] + "/").startswith(folder + "/")]
        if users:
            raise Failure(
                "%s is used by %s, which runs" % (version, ", ".join(users)),
                "restart-instance %s" % " ".join(users),
            )

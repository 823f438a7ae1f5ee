"""What a plan places, made beside the tree: one file per entry with its mode and modtime, ready for one rename.

What lives here: where each new file is made, who still lacks its content, and the journal's operations that place what was
made. What must not: where contents come from (`sharing.py`, `receive.py`), the commit.

Small contents are written where they are needed at once. Larger ones lie in staging under their digest, and become files
in `prepare`. A folder of which the tree has nothing is made in staging as a whole, `tree.N`, and placed with one rename; all
other files are `new.N`. Nothing outside `.dasctl` changes here.
"""

from __future__ import annotations

from dasctl.remote import commit, paths, staging, state
from dasctl.remote import disk as on_disk
from dasctl.remote import handles as by_handle
from dasctl.remote.manifest import Entry
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.compare import Plan
    from dasctl.remote.tree import Seen

    Operation = list[Any]

PREFIX = state.STAGING + b"/"
FSYNC_EACH = 32  # so many files are synced one by one; for more, one sync of the file system is quicker


class Fresh:
    """The files that one instance is about to get.

    waiting: digest to the entries that lack it and have no file yet; held: digests among them that lie verified in
    staging; failure: the disk's, when a content could not be written.
    """

    beside = False

    def __init__(self, place: state.Place) -> None:
        self.place = place
        self.waiting: dict[bytes, list[Entry]] = {}
        self.held: set[bytes] = set()
        self.begun: dict[bytes, int] = {}  # digest to bytes of its beginning that are there
        self.failure: OSError | None = None
        self._plan: Plan | None = None
        self._ready: dict[bytes, tuple[Entry, bytes]] = {}  # path to entry and name below staging
        self._linked: dict[bytes, bytes] = {}  # paths whose file is still that of another path of the tree
        self._tops: dict[bytes, bytes] = {}  # folders that are placed whole, to their names
        self._folders: dict[bytes, bytes] = {}  # those and the ones in them
        self._made: set[bytes] = {b""}
        self._count = 0
        self._lasting = 0  # so many files were made lasting

    # -- what is needed

    def lay_out(self, plan: Plan, seen: Seen) -> None:
        """Take up a plan, the first or another one: what is there for it already stays."""
        self._plan = plan
        self._find_tops(plan, seen)
        self._unlink_stale(plan)
        self.waiting = {}
        for entry in plan.place:
            if entry.kind == "f" and not self._is_ready(entry):
                self.waiting.setdefault(entry.digest, []).append(entry)
        self._look()

    def _is_ready(self, entry: Entry) -> bool:
        known = self._ready.get(entry.path)
        if known is None:
            return False
        if known[0] != entry:
            self._forget(entry.path)
            return False
        return True

    def _find_tops(self, plan: Plan, seen: Seen) -> None:
        """The topmost new folders. Where somebody has made one since, its files are placed one by one."""
        known, self._tops, self._folders = self._tops, {}, {}
        folders, same, other = self._folders, seen.same, seen.other
        for path in plan.mkdir:
            above, _, name = path.rpartition(b"/")
            inside = folders.get(above)
            if inside is not None:
                folders[path] = inside + b"/" + name
            elif path not in same and path not in other:
                folders[path] = self._tops[path] = known.get(path) or self._number(b"tree.%d")

    def _unlink_stale(self, plan: Plan) -> None:
        """A file that was linked because its old path goes must not stay linked when that path stays."""
        if self._linked:
            gone = set(plan.remove)
            for path, old in list(self._linked.items()):
                if old not in gone:
                    self._forget(path)

    def _forget(self, path: bytes) -> None:
        self._lasting = -1
        self.place.disk.unlink(PREFIX + self._ready.pop(path)[1])
        self._linked.pop(path, None)

    def _look(self) -> None:
        """Which of the contents that are waited for lie in staging, whole or begun."""
        self.held, self.begun = set(), {}
        for name in state.in_staging(self.place):
            whole = len(name) == staging.DIGITS
            digest = name if whole else name[len(staging.PART) :]
            if digest not in self.waiting:
                continue
            size = self.waiting[digest][0].size
            if whole and staging.has(self.place, digest, size):
                self.held.add(digest)
            elif name.startswith(staging.PART):
                self.begun[digest] = staging.begun(self.place, digest, size)

    def lacking(self) -> list[bytes]:
        """The contents that are not there yet, in the plan's order."""
        return [digest for digest in self.waiting if digest not in self.held]

    def size(self, digest: bytes) -> int:
        return self.waiting[digest][0].size

    def beginning(self, digest: bytes) -> int:
        """How many bytes of its beginning are there now."""
        if digest not in self.begun:
            return 0
        return staging.begun(self.place, digest, self.size(digest))

    def bytes_missing(self) -> int:
        """The space that the files still take once all is there."""
        total = 0
        for digest, entries in self.waiting.items():
            size = entries[0].size
            total += size * (len(entries) - (digest in self.held)) - min(self.begun.get(digest, 0), size)
        return total

    # -- contents arrive

    def take(self, digest: bytes, data: bytes | memoryview) -> None:
        """Make all files of a small content, whose bytes were verified. Raises OSError."""
        for entry in self.waiting.pop(digest, ()):
            self._write(entry, data)

    def _write(self, entry: Entry, data: bytes | memoryview) -> None:
        path = entry.path
        name = self._name(path)
        self.place.disk.fill(PREFIX + name, data, entry.mode, entry.mtime)
        self._ready[path] = (entry, name)

    def hold(self, digest: bytes) -> None:
        """The content lies verified in staging, under its digest."""
        self.held.add(digest)
        self.begun.pop(digest, None)

    def link(self, entry: Entry, old: bytes) -> bool:
        """Make the file of `entry` by linking the one at `old`, which is about to go. False where that cannot be."""
        name = self._name(entry.path)
        try:
            self.place.disk.link(old, PREFIX + name)
        except OSError:
            return False
        self._ready[entry.path] = (entry, name)
        self._linked[entry.path] = old
        waiting = self.waiting[entry.digest]
        waiting.remove(entry)
        if not waiting:
            del self.waiting[entry.digest]
        return True

    def _name(self, path: bytes) -> bytes:
        above, _, name = path.rpartition(b"/")
        folder = self._folders.get(above)
        if folder is None:
            return self._number(b"new.%d")
        if folder not in self._made:
            self._make(folder)
        return folder + b"/" + name

    def _number(self, pattern: bytes) -> bytes:
        self._count += 1
        return pattern % self._count

    def _make(self, folder: bytes) -> None:
        missing = []
        while folder not in self._made:
            missing.append(folder)
            folder = folder.rpartition(b"/")[0]
        for folder in reversed(missing):
            self.place.disk.mkdir(PREFIX + folder)
            self._made.add(folder)

    # -- all is there

    def prepare(self, plan: Plan, seen: Seen) -> tuple[list[Operation], set[bytes], set[bytes]]:
        """The operations that place what was made, the folders that these bring along, and those of them that are dressed.

        Raises OSError; state.Failure where something is missing.
        """
        self.complete(plan, seen)
        alone = self._alone(plan)
        disturbed = {path.rpartition(b"/")[0] for path, _name in alone}
        dressed = self._folders.keys() - self._tops.keys() - disturbed
        return self._operations(plan, alone), set(self._folders), dressed

    def complete(self, plan: Plan, seen: Seen) -> None:
        """Finish what is made, so that a journal may promise it; done again it finds little to do. Raises as `prepare`."""
        if plan is not self._plan:
            self.lay_out(plan, seen)
        if self.lacking():
            raise state.Failure(
                "contents are missing that were there before", "synchronise again; they will be sent then"
            )
        self._use_held()
        self._make_links(plan)
        self._drop_strangers(plan)
        for folder in self._folders.values():
            if folder not in self._made:
                self._make(folder)
        self._dress_folders(plan)
        if len(self._ready) != self._lasting:
            self._make_lasting()
            self._lasting = len(self._ready)

    def _alone(self, plan: Plan) -> list[tuple[bytes, bytes]]:
        """(path, name) of what does not come along in a folder."""
        whole = set(self._tops.values())
        made = [(entry.path, self._ready[entry.path][1]) for entry in plan.place]
        return [(path, name) for path, name in made if name.partition(b"/")[0] not in whole]

    def _use_held(self) -> None:
        """The last user of a content takes it by a rename, the others get copies: each has an inode of its own."""
        disk = self.place.disk
        for digest, entries in self.waiting.items():
            for entry in entries:
                name = self._name(entry.path)
                if entry is entries[-1]:
                    disk.rename(staging.name_of(digest), PREFIX + name)
                else:
                    staging.duplicate(self.place, staging.name_of(digest), self.place, PREFIX + name)
                disk.dress_file(PREFIX + name, entry.mode, entry.mtime)
                self._ready[entry.path] = (entry, name)
        self.waiting = {}

    def _make_links(self, plan: Plan) -> None:
        disk = self.place.disk
        for entry in plan.place:
            if entry.kind == "l" and not self._is_ready(entry):
                name = self._name(entry.path)
                disk.symlink(entry.digest, PREFIX + name)
                disk.dress_link(PREFIX + name, entry.mtime)
                self._ready[entry.path] = (entry, name)

    def _drop_strangers(self, plan: Plan) -> None:
        """What was made for an earlier plan must not come along in a folder."""
        if len(self._ready) != len(plan.place):
            for path in self._ready.keys() - {entry.path for entry in plan.place}:
                self._forget(path)
        whole = set(self._tops.values())
        for folder in self._made - set(self._folders.values()):
            if folder.partition(b"/")[0] in whole:
                self.place.disk.remove_tree(PREFIX + folder)
                self._made.discard(folder)

    def _dress_folders(self, plan: Plan) -> None:
        """The folders in those that are placed whole; these are dressed when they have their place."""
        for path, folder in sorted(self._folders.items(), key=lambda item: -item[1].count(b"/")):
            if path not in self._tops:
                entry = plan.folders[path]
                self.place.disk.dress_folder(PREFIX + folder, entry.mode, entry.mtime)

    def _make_lasting(self) -> None:
        """Contents reach the disk before the journal promises them."""
        names = [name for path, (entry, name) in self._ready.items() if path not in self._linked]
        if len(names) + len(self._folders) > FSYNC_EACH:
            on_disk.sync_all(self.place.handles.folder(state.STAGING))
            return
        for path, (entry, name) in self._ready.items():
            if entry.kind == "f" and path not in self._linked:
                _sync_file(self.place, PREFIX + name)
        for folder in self._folders.values():
            os.fsync(self.place.handles.folder(PREFIX + folder))

    def _operations(self, plan: Plan, alone: list[tuple[bytes, bytes]]) -> list[Operation]:
        text = paths.printable
        inside: dict[bytes, list[Any]] = {top: [] for top in self._tops}
        for path, folder in self._folders.items():
            _top, _, below = folder.partition(b"/")
            if below:
                entry = plan.folders[path]
                inside[path[: -len(below) - 1]].append([text(below), entry.mode, entry.mtime])
        operations: list[Operation] = [
            ["tree", text(path), text(name), list(reversed(inside[path]))]
            for path, name in self._tops.items()
        ]
        for folder, items in commit.by_folder(alone):
            flat = [text(part) for name, made in items for part in (name, made)]
            operations.append(["places", text(folder), flat])
        return operations

    # -- it comes to nothing, for now

    def give_back(self) -> None:
        """Give what was made back the names of its contents: the next synchronisation goes on with them."""
        for path, (entry, name) in self._ready.items():
            if entry.kind == "f" and path not in self._linked:
                try:
                    self.place.disk.rename(PREFIX + name, staging.name_of(entry.digest))
                except OSError:
                    pass  # it is found by its bytes
        self._ready.clear()
        staging.clear(self.place)


def _sync_file(place: state.Place, name: bytes) -> None:
    try:
        handle = by_handle.open_file(place.handles, name)
    except PermissionError:
        on_disk.sync_all(place.root)  # a mode that lets nobody read
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

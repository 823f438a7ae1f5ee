"""`sync`: bring instances to where the request leads, as far as guard, policy, space and contents allow.

What lives here: the order of the steps, per request and per instance. What must not: the judgements (`guard.py`,
`compare.py`), the commit (`commit.py`), walking (`tree.py`).

    open and lock, finish what was interrupted, judge, resolve the parts, compare,
    check the space, stage what is on the node, receive what is not, compare again if that took time, commit.
"""

from __future__ import annotations

import os

from dasctl.remote import commit, compare, guard, manifest, messages, overlay, paths, state, tree, words
from dasctl.remote import handles as by_handle
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

MOST_CHANGES = 1000  # of a reply that is not a dry run
MOST_PART = 1 << 30  # bytes of one part
SPACE_MARGIN = 1 << 20  # bytes left free besides the contents: journal, manifest, folders
AREAS = [area.encode() for area in words.AREAS]


class Work:
    """One instance of a request, from its opening to its verdict."""

    def __init__(self, request: Reply) -> None:
        self.request = request
        self.name: str = request["name"]
        self.place: state.Place | None = None
        self.digests: tree.Digests | None = None
        self.kept = state.Kept()
        self.reply: Reply | None = None
        self.needs: list[bytes] = []
        self.sizes: dict[bytes, int] = {}
        # Known once the parts are resolved and compared:
        self.parts: list[tuple[str, str, bytes]] = []
        self.partial = request["only"] is not None or request["except"] is not None
        self.ancestor: dict[bytes, bytes] = {}
        self.seen = tree.Seen()
        self.overlay = overlay.Overlay()
        self.plan = compare.Plan()

    def matches(self) -> Callable[[bytes], bool] | None:
        """Which paths the request is about; None: all."""
        if not self.partial:
            return None
        import re

        only = self.request["only"]
        chosen = None if only is None else [re.compile(pattern) for pattern in only]
        barred = [re.compile(pattern) for pattern in self.request["except"] or ()]

        def matches(path: bytes) -> bool:
            text = path.decode("latin-1")
            if any(pattern.search(text) for pattern in barred):
                return False
            return chosen is None or any(pattern.search(text) for pattern in chosen)

        return matches

    def close(self) -> None:
        if self.place is not None:
            self.place.close()
            self.place = None


class Syncing:
    """A `sync` and the `contents` that follow it. `close` frees locks and handles; it may be called at any time."""

    def __init__(self, header: Reply, before: Callable[[str], None] = lambda operation: None) -> None:
        common = messages.common(header)
        self.domain: str = common["domain"]
        self.epoch: int = common["epoch"]
        self.local: bool = common["local"]
        self.dry_run: bool = common["dry_run"]
        self.works = [Work(item) for item in messages.instances(header, messages.sync_instance)]
        self.blobs = messages.blobs(header)
        self.node = state.node_path(common["dir"])
        self.before = before

    def close(self) -> None:
        for work in self.works:
            work.close()

    def start(self, link: Link, body: bytes) -> Reply:
        """Answer the `sync` whose frame has this body; reads the content frames behind it."""
        for work in self.works:
            self._guarded(work, self._open)
        self._resolve(body)
        for work in self._open_works():
            self._guarded(work, self._compare)
        if not self.dry_run:
            self._stage_here()
        return self._receive_and_finish(link, words.SYNC)

    def go_on(self, link: Link) -> Reply:
        """Answer the `contents` that follows a reply with `needs`."""
        self.works = [work for work in self.works if work.reply is not None and work.needs]
        for work in self.works:
            work.reply = None
        return self._receive_and_finish(link, words.CONTENTS)

    # -- the steps, in their order

    def _receive_and_finish(self, link: Link, name: str) -> Reply:
        if self._receive(link):
            for work in self._open_works():
                self._guarded(work, self._compare)
            self._stage_here()
        for work in self._open_works():
            self._guarded(work, self._finish)
        for work in self.works:
            if work.reply is None or work.reply["verdict"] != words.NEEDS:
                work.close()
        return {"reply": name, "instances": [work.reply for work in self.works]}

    def _open_works(self) -> list[Work]:
        return [work for work in self.works if work.reply is None]

    def _guarded(self, work: Work, step: Callable[[Work], None]) -> None:
        """One instance's failure does not end the others'."""
        try:
            step(work)
        except Failure as failure:
            self._fail(work, failure)
        except OSError as error:
            self._fail(work, state.explained(error, os.path.join(self.node, work.name)))
        except (messages.BadMessage, manifest.ManifestError) as error:
            self._fail(work, Failure(str(error)))
        except Exception as error:
            import traceback

            traceback.print_exc()
            self._fail(work, Failure("%s: %s" % (type(error).__name__, error)))

    def _fail(self, work: Work, failure: Failure) -> None:
        work.needs = []
        work.reply = {
            "name": work.name, "verdict": words.FAILED, "message": failure.message, "hint": failure.hint,
        }  # fmt: skip

    def _open(self, work: Work) -> None:
        work.place = state.open_place(self.node, work.name, create=not self.dry_run, before=self.before)
        if work.place is not None:
            work.place.lock(create=not self.dry_run)
            commit.finish(work.place)
            if not self.dry_run:
                commit.clear(work.place)
            work.digests = tree.Digests(work.place.handles)
            work.kept = state.load(work.place)
        request, kept = work.request, work.kept
        judged = guard.judge(
            kept.at, newer=kept.newer, domain=self.domain, epoch=self.epoch, expect=request["expect"],
            lead=request["lead"], config_id=request["config_id"], local=self.local,
        )  # fmt: skip
        if judged.verdict is not None:
            self._turn_away(work, judged)

    def _turn_away(self, work: Work, judged: guard.Judgement, missing: Iterable[str] = ()) -> None:
        work.reply = {"name": work.name, "verdict": judged.verdict, "at": work.kept.at}
        if judged.verdict == words.STANDS:
            work.reply.update(parts=work.kept.listing, missing=list(missing))
        else:
            work.reply.update(reason=judged.reason, message=judged.message)

    def _resolve(self, body: bytes) -> None:
        """Give every work the bytes of its parts: those that it has, those of its neighbours, those that came."""
        pool: dict[str, bytes] = {}
        for work in self.works:
            for name, digest in work.kept.listing:
                pool[digest] = work.kept.parts[name]
        fresh = self._unpack(body, pool)
        for work in self._open_works():
            self._guarded(work, lambda work: self._resolve_one(work, pool, fresh))

    def _unpack(self, body: bytes, pool: dict[str, bytes]) -> dict[str, str]:
        """Add the blobs to `pool`; returns what is wrong with them, by digest."""
        wrong: dict[str, str] = {}
        offset = 0
        for blob in self.blobs:
            data = _inflated(body[offset : offset + blob["size"]])
            offset += blob["size"]
            if blob["base"] is not None:
                base = pool.get(blob["base"])
                if base is None:
                    continue  # then the part is missing, and the reply says so
                try:
                    data = manifest.apply(base, data)
                except (manifest.ManifestError, IndexError) as error:
                    wrong[blob["part"]] = str(error)
                    continue
            if manifest.digest_of(data) != blob["part"]:
                wrong[blob["part"]] = "the bytes of a part do not have its digest"
                continue
            pool[blob["part"]] = data
        if offset != len(body):
            raise messages.BadMessage("blobs of %d bytes in a body of %d" % (offset, len(body)))
        return wrong

    def _resolve_one(self, work: Work, pool: dict[str, bytes], wrong: dict[str, str]) -> None:
        listing = work.request["parts"]
        missing = [digest for _name, digest in listing if digest not in pool]
        for digest in missing:
            if digest in wrong:
                raise Failure("a part did not arrive as it was sent: %s" % wrong[digest])
        if missing:
            self._turn_away(work, guard.Judgement(words.STANDS), missing)
            return
        had = {digest: name for name, digest in work.kept.listing}
        for name, digest in listing:
            if had.get(digest) != name:
                messages.part_entries(name, pool[digest])
        work.parts = [(name, digest, pool[digest]) for name, digest in listing]
        matches = work.matches()
        if matches is not None:
            work.parts = _composed(work.parts, work.kept, matches)

    def _compare(self, work: Work) -> None:
        """Compare what was, what is, and what is wanted; fill `plan` and `needs`."""
        request, matches = work.request, work.matches()
        read_all = request["criterion"] == "hash" or request["full"]
        work.ancestor = work.kept.ancestor()
        wanted = work.ancestor
        if work.place is not None:
            work.overlay = overlay.look(work.place, work.kept, work.digests, read_all, matches)
        if work.kept.exceptions or work.overlay.lines or not self._same_parts(work):
            wanted = work.overlay.over(state.lines_of(data for _name, _digest, data in work.parts))
        work.seen = tree.Seen()
        if work.place is not None:
            assert work.digests is not None
            work.seen = tree.walk(
                work.place.handles, AREAS, work.ancestor, work.digests.of if read_all else None
            )
            self._find_out(work, wanted, read_all)
        work.plan = compare.plan(
            work.ancestor,
            wanted,
            work.seen,
            policy=request["deviations"],
            full=request["full"],
            matches=matches,
        )
        self._count_needs(work)

    def _same_parts(self, work: Work) -> bool:
        return [[name, digest] for name, digest, _data in work.parts] == work.kept.listing

    def _find_out(self, work: Work, wanted: dict[bytes, bytes], read_all: bool) -> None:
        assert work.place is not None and work.digests is not None
        for path in compare.questions(work.ancestor, wanted, work.seen, trust_modtime=not read_all):
            status = by_handle.lstat(work.place.handles, path)
            if status is None:
                continue
            try:
                digest = work.digests.of(path, status)
            except OSError as error:
                work.seen.problems.append((path, error.strerror or str(error)))
                continue
            work.seen.other[path] = work.seen.other[path]._replace(digest=digest)

    def _count_needs(self, work: Work) -> None:
        work.sizes = {entry.digest: entry.size for entry in work.plan.place if entry.kind == "f"}
        work.needs = []
        policy = work.request["deviations"]
        if policy == "fail" and work.plan.deviations:
            raise Failure(
                "%d files differ from what was synchronised: %s" % (
                    len(work.plan.deviations), _some(item.path for item in work.plan.deviations)
                ),
                "look at them on the node; --deviations overwrite replaces them and keeps them aside",
            )  # fmt: skip

    def _stage_here(self) -> None:
        """Check the space, and stage all contents that the node has already; `needs` are the others."""
        works = [work for work in self._open_works() if work.sizes or work.plan.changes]
        if not works:
            return
        from dasctl.remote import staging

        taken = 0
        for work in works:
            assert work.place is not None
            missing = sum(entry.size for entry in work.plan.place if entry.kind == "f") - sum(
                size for digest, size in work.sizes.items() if staging.has(work.place, digest, size)
            )
            try:
                _check_space(work, missing, taken)
            except Failure as failure:
                self._fail(work, failure)
                continue
            taken += missing
        works = [work for work in works if work.reply is None]
        for work in works:
            self._guarded(work, lambda work: self._stage_overlay(work))
        works = [work for work in works if work.reply is None]
        wanting = {digest for work in works for digest in work.sizes if not self._staged(digest, work)}
        self._stage_copies(works, wanting)
        for work in works:
            work.needs = [digest for digest in work.sizes if not self._staged(digest, work)]

    def _staged(self, digest: bytes, work: Work) -> bool:
        """Whether the content lies verified in the staging of some instance of the request."""
        return self._holder(digest, work.sizes[digest]) is not None

    def _holder(self, digest: bytes, size: int) -> Work | None:
        from dasctl.remote import staging

        for other in self.works:
            if other.place is not None and staging.has(other.place, digest, size):
                return other
        return None

    def _stage_overlay(self, work: Work) -> None:
        from dasctl.remote import staging

        assert work.place is not None
        for entry in work.plan.place:
            if entry.kind != "f" or staging.has(work.place, entry.digest, entry.size):
                continue
            if entry.size == 0 and entry.digest.decode() == EMPTY:
                staging.empty(work.place, entry.digest)
            elif entry.path in work.overlay.lines:
                source = b"local/" + entry.path
                if not staging.copy(work.place, source, work.place, entry.digest, entry.size):
                    raise Failure(
                        "%s changes while it is read" % paths.printable(source), "synchronise again when it is at rest"
                    )  # fmt: skip

    def _stage_copies(self, works: list[Work], wanting: set[bytes]) -> None:
        """Contents that an instance of the request has under another path are copied, not sent."""
        from dasctl.remote import staging

        if not wanting:
            return
        for source in self.works:
            if source.place is None:
                continue
            for path, line in source.ancestor.items():
                digest = line.split(b" ", 5)[4]
                if digest not in wanting or path not in source.seen.same:
                    continue
                user = next(work for work in works if digest in work.sizes)
                assert user.place is not None
                try:
                    copied = staging.copy(source.place, path, user.place, digest, user.sizes[digest])
                except OSError as error:
                    self._fail(user, state.explained(error, user.place.path))
                    return
                if copied:
                    wanting.discard(digest)

    def _receive(self, link: Link) -> bool:
        """Read content frames up to the end; True where a content came that somebody needs."""
        from dasctl.remote import receive

        needed: dict[bytes, tuple[state.Place, int]] = {}
        for work in self._open_works():
            for digest in work.needs:
                assert work.place is not None
                needed.setdefault(digest, (work.place, work.sizes[digest]))
        received = receive.contents(link, needed)
        for digest, error in received.failures.items():
            for work in self._open_works():
                if digest in work.needs and work.place is not None:
                    self._fail(work, state.explained(error, work.place.path))
        return bool(needed) and received.frames > 0

    def _finish(self, work: Work) -> None:
        if self.dry_run:
            work.reply = self._report(work, [], "")
            return
        if work.needs:
            work.reply = {
                "name": work.name, "verdict": words.NEEDS, "bytes": 0,
                "contents": [digest.decode() for digest in work.needs],
            }  # fmt: skip
            return
        self._distribute(work)
        problems, aside = self._carry_out(work)
        work.reply = self._report(work, problems, aside)

    def _distribute(self, mine: Work) -> None:
        """Contents that this instance is about to use up are copied to the others that need them, and to it."""
        from_here = set(mine.sizes)
        if not from_here:
            return
        from dasctl.remote import staging

        for work in self.works:
            if work.place is None or (
                work is not mine and (work.reply or {}).get("verdict") not in (None, words.NEEDS)
            ):
                continue
            for digest in from_here & set(work.sizes):
                size = work.sizes[digest]
                if staging.has(work.place, digest, size):
                    continue
                holder = self._holder(digest, size)
                if holder is None or holder.place is None:
                    continue
                try:
                    staging.copy(holder.place, staging.name_of(digest), work.place, digest, size)
                except OSError as error:
                    if work is mine:
                        raise
                    self._fail(work, state.explained(error, work.place.path))
                    break

    def _carry_out(self, work: Work) -> tuple[list[tuple[bytes, str]], str]:
        """Commit: returns problems, and where what was replaced lies."""
        place, plan = work.place, work.plan
        assert place is not None
        exceptions = work.overlay.exceptions(work.kept)
        for path, kind in plan.kept.items():
            exceptions[paths.printable(path)] = {"kind": kind, "entry": None}
        known = None
        if (
            exceptions != work.kept.exceptions
            or not self._same_parts(work)
            or (work.kept.at is None and not work.partial)
        ):
            known = state.manifest_bytes(work.parts, exceptions)
        stamp = self._stamp(work)
        if known is None and plan.nothing():
            if stamp is not None:
                place.disk.write(state.STATE, stamp)
            return [], ""
        aside = _aside(place, work.request["lead"]["revision"]) if plan.move or plan.link else ""
        try:
            commit.begin(place, _operations(place, plan, aside), known, stamp)
        except BaseException:
            commit.clear(place)
            raise
        return commit.finish(place), aside

    def _stamp(self, work: Work) -> bytes | None:
        """What state.json becomes, or None where it stays."""
        at, lead = work.kept.at, work.request["lead"]
        if at is not None and (
            work.partial or [at["revision"], at["digest"]] == [lead["revision"], lead["digest"]]
        ):
            if self.epoch <= at["epoch"]:
                return None
            at["epoch"] = self.epoch
            return state.state_bytes(at)
        if work.partial:
            return None
        epoch = self.epoch if at is None or self.local is False else max(self.epoch, at["epoch"])
        work.kept.at = state.stamp_of(self.domain, epoch, lead)
        return state.state_bytes(work.kept.at)

    def _report(self, work: Work, problems: list[tuple[bytes, str]], aside: str) -> Reply:
        plan = work.plan
        deviations = [
            {
                "path": paths.printable(item.path), "kind": item.kind, "action": item.action,
                "aside": aside + "/" + paths.printable(item.path) if item.aside and aside else None,
            }
            for item in plan.deviations
        ]  # fmt: skip
        deviations += [
            {"path": paths.printable(path), "kind": words.OVERRIDDEN, "action": compare.KEPT, "aside": None}
            for path in work.overlay.files()
        ]
        changes = plan.changes if self.dry_run else plan.changes[:MOST_CHANGES]
        reply: Reply = {
            "name": work.name,
            "verdict": words.DONE if plan.changes or plan.rmdir else words.UNCHANGED,
            "at": work.kept.at,
            "changed": len(plan.place),
            "touched": len(plan.touch),
            "deleted": sum(1 for _path, why in plan.changes if why == "deleted"),
            "deviations": deviations,
            "changes": [{"path": paths.printable(path), "why": why} for path, why in changes],
            "problems": [
                {"path": paths.printable(path), "message": message}
                for path, message in [*work.seen.problems, *work.overlay.problems, *problems][:MOST_CHANGES]
            ],
        }
        if problems:
            reply["verdict"] = words.FAILED
            reply["message"] = "%d files could not be changed: %s" % (
                len(problems), "; ".join("%s: %s" % (paths.printable(p), m) for p, m in problems[:3]),
            )  # fmt: skip
            reply["hint"] = "look at their owner and mode on the node, then synchronise again"
        return reply


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes


def _inflated(data: bytes) -> bytes:
    import zlib

    unpacker = zlib.decompressobj()
    try:
        result = unpacker.decompress(data, MOST_PART)
    except zlib.error as error:
        raise messages.BadMessage("a blob that is not compressed as it should be: %s" % error) from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise messages.BadMessage("a blob that is cut off, or too large")
    return result


def _composed(
    parts: list[tuple[str, str, bytes]], kept: state.Kept, matches: Callable[[bytes], bool]
) -> list[tuple[str, str, bytes]]:
    """The parts that a request for some paths leads to: the new lines of what matches, the old ones of what does not."""
    composed = []
    names = [name for name, _digest, _data in parts]
    fresh = {name: data for name, _digest, data in parts}
    for name in [*names, *(name for name in kept.parts if name not in fresh)]:
        old, new = state.lines_of([kept.parts.get(name, b"")]), state.lines_of([fresh.get(name, b"")])
        lines = {path: line for path, line in old.items() if not matches(path)}
        lines.update({path: line for path, line in new.items() if matches(path)})
        for path in list(lines):
            # What is chosen needs the folders above it, chosen or not.
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                line = new.get(path) or old.get(path)
                if path in lines or line is None:
                    break
                lines[path] = line
        if lines:
            data = b"".join([lines[path] + b"\0" for path in sorted(lines, key=manifest.order)])
            composed.append((name, manifest.digest_of(data), data))
    return composed


def _check_space(work: Work, needed: int, taken: int) -> None:
    """Refuse before anything is written, rather than in the middle."""
    assert work.place is not None
    free = os.statvfs(work.place.root)
    there = free.f_bavail * free.f_frsize - taken
    if needed + SPACE_MARGIN > there:
        raise Failure(
            "not enough space in %s: %s needed, %s free" % (
                work.place.path, _size(needed + SPACE_MARGIN), _size(max(there, 0))
            ),
            "free some space on the node; old deviations lie in .dasctl/replaced",
        )  # fmt: skip
    files = len(work.plan.place) + len(work.plan.mkdir)
    if free.f_files and files > free.f_favail:
        raise Failure(
            "not enough inodes in %s: %d files are to be made, %d inodes are free"
            % (work.place.path, files, free.f_favail),
            "remove files that are not needed from that file system",
        )


def _size(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1024 and unit < 4:
        size, unit = size / 1024, unit + 1
    return "%.1f %s" % (size, ("B", "KiB", "MiB", "GiB", "TiB")[unit])


def _some(found: Iterable[bytes]) -> str:
    names = [paths.printable(path) for path in found]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _aside(place: state.Place, revision: int) -> str:
    """A folder that is not there yet, for what this commit replaces."""
    number, suffix = 0, ""
    while True:
        path = "%s/%d%s" % (state.REPLACED.decode(), revision, suffix)
        if by_handle.lstat(place.handles, path.encode()) is None:
            return path
        number += 1
        suffix = ".%d" % number


def _operations(place: state.Place, plan: compare.Plan, aside: str) -> list[list[Any]]:
    """The journal of a plan. Prepares the contents."""
    text = paths.printable
    placed: list[list[Any]] = []
    if plan.place:
        from dasctl.remote import staging

        placed = staging.prepare(place, plan.place)
    away = [["move", text(path), aside + "/" + text(path)] for path in plan.move]
    linked = [["link", text(path), aside + "/" + text(path)] for path in plan.link]
    return [
        *away,
        *(["remove", text(path)] for path in plan.remove),
        *(["rmdir", text(path)] for path in reversed(plan.rmdir)),
        *(["mkdir", text(path)] for path in plan.mkdir),
        *linked,
        *placed,
        *(["touch", text(entry.path), entry.mode, entry.mtime] for entry in plan.touch),
        *(
            ["folder", text(path), plan.folders[path].mode, plan.folders[path].mtime]
            for path in sorted(plan.folders, key=lambda path: (-path.count(b"/"), path))
        ),
    ]

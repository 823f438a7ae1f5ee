"""`sync`: bring instances to where the request leads, as far as guard, policy, space and contents allow.

What lives here: the order of the steps, per request and per instance. What must not: the judgements (`guard.py`,
`compare.py`), the commit (`commit.py`), walking (`tree.py`).

    open and lock, finish what was interrupted, judge, resolve the parts, compare,
    check the space, stage what is on the node, receive what is not, compare again if that took time, commit;
    with `hold`: all but the commit; then, when it is asked for, compare once more, and commit.
"""

from __future__ import annotations

import time

from dasctl.remote import (
    commit,
    compare,
    guard,
    manifest,
    messages,
    overlay,
    parts,
    report,
    state,
    tree,
    words,
    writing,
)
from dasctl.remote import handles as by_handle
from dasctl.remote.state import Failure
from dasctl.remote.work import Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]
    # By name and digest of a part: the digest of the one that it was compared with, and what `part_entries` said.
    Checked = dict[tuple[str, str], tuple[str | None, list[tuple[bytes, bytes]] | None]]

STILL_S = 1.0  # seconds after which what was seen of the disk is old; as much may pass within a commit
FEW = 100  # lines that are looked up in a part rather than found in a table of all
WAITING = (words.NEEDS, words.STAGED)


class Syncing:
    """A `sync`, and the `contents` and the `commit` that follow it. `close` frees locks and handles; it may be called at
    any time."""

    def __init__(self, header: Reply, before: Callable[[str], None] = lambda operation: None) -> None:
        common = messages.common(header)
        self.domain: str = common["domain"]
        self.epoch: int = common["epoch"]
        self.local: bool = common["local"]
        self.dry_run: bool = common["dry_run"]
        self.hold: bool = common["hold"] and not self.dry_run
        self.most = report.MOST_ASKED if self.dry_run or common["changes"] == "all" else report.MOST_CHANGES
        self.works = [Work(item) for item in messages.instances(header, messages.sync_instance)]
        self.asked = self.works  # those that the reply is about
        self.blobs = messages.blobs(header)
        self.node = state.node_path(common["dir"])
        self.before = before
        self.looked = 0.0  # when the disk was compared last

    def close(self) -> None:
        for work in self.works:
            self._clear(work)
            work.close()

    def start(self, link: Link, body: bytes) -> Reply:
        """Answer the `sync` whose frame has this body; reads the content frames behind it."""
        for work in self.works:
            self._guarded(work, self._open)
        self._resolve(body)
        for work in self._open_works():
            self._guarded(work, self._compare)
        if not self.dry_run:
            self._share()
        return self._receive_and_finish(link, words.SYNC)

    def waits(self) -> bool:
        """Whether an instance waits for contents or for the commit."""
        return any(work.verdict() in WAITING for work in self.works)

    def go_on(self, link: Link) -> Reply:
        """Answer the `contents` that follows a reply with `needs`."""
        self._ask_again(words.NEEDS)
        if not self.asked:
            raise messages.BadMessage("contents that nobody asked for")
        return self._receive_and_finish(link, words.CONTENTS)

    def commit(self) -> Reply:
        """Answer the `commit` that follows a reply with `staged`."""
        self._ask_again(words.STAGED)
        if not self.asked:
            raise messages.BadMessage("a commit, but nothing is staged")
        for work in self.asked:
            self._guarded(work, self._look_again)
        self._share()
        for work in self._open_works():
            self._guarded(work, self._commit)
        return self._told(words.COMMIT)

    # -- the steps, in their order

    def _receive_and_finish(self, link: Link, name: str) -> Reply:
        # A further channel may have carried what is needed: then nothing comes here, and it lies in staging.
        if self._receive(link) or (name == words.CONTENTS and any(work.needs for work in self._open_works())):
            for work in self._open_works():
                self._guarded(work, self._compare)
            self._share()
        for work in self._open_works():
            self._guarded(work, self._finish)
        return self._told(name)

    def _ask_again(self, verdict: str) -> None:
        """Go on with the instances whose last verdict this was; the others that wait stay as they are."""
        self.works = [work for work in self.works if work.verdict() in WAITING]
        self.asked = [work for work in self.works if work.verdict() == verdict]
        for work in self.asked:
            work.reply = None

    def _told(self, name: str) -> Reply:
        """The reply; instances that do not wait for anything are closed."""
        for work in self.asked:
            if work.verdict() not in WAITING:
                self._clear(work)
                work.close()
        return {"reply": name, "instances": [work.reply for work in self.asked]}

    def _clear(self, work: Work) -> None:
        """Leave contents that were staged only where the next synchronisation goes on with them."""
        if work.place is None or self.dry_run:
            return
        done = work.verdict() in (words.DONE, words.UNCHANGED) and not work.partial
        if (done and state.in_staging(work.place)) or work.lacks_space:
            from dasctl.remote import staging

            staging.drop(work.place)
        elif work.fresh is not None:
            work.fresh.give_back()
            work.fresh = None

    def _open_works(self) -> list[Work]:
        return [work for work in self.works if work.reply is None]

    def _guarded(self, work: Work, step: Callable[[Work], None]) -> None:
        """One instance's failure does not end the others'."""
        try:
            step(work)
        except Failure as failure:
            work.fail(failure)
        except OSError as error:
            work.fail(state.explained(error, state.below(self.node, work.name)))
        except (messages.BadMessage, manifest.ManifestError) as error:
            work.fail(Failure(str(error)))
        except Exception as error:
            import traceback

            traceback.print_exc()
            work.fail(Failure("%s: %s" % (type(error).__name__, error)))

    def _open(self, work: Work) -> None:
        folders = state.OURS if words.RELEASES in work.areas else state.FOLDERS
        work.place = state.open_place(
            self.node, work.name, create=not self.dry_run, before=self.before, folders=folders
        )
        if work.place is not None:
            work.place.lock(create=not self.dry_run)
            if not self.dry_run:
                commit.finish(work.place)
                commit.salvage(work.place)
            work.digests = tree.Digests(work.place.handles)
            work.kept = state.load(work.place)
            work.check_areas()
        request, kept = work.request, work.kept
        judged = guard.judge(
            kept.at, newer=kept.newer, domain=self.domain, epoch=self.epoch, expect=request["expect"],
            lead=request["lead"], config_id=request["config_id"], local=self.local,
        )  # fmt: skip
        if judged.verdict is not None:
            work.turn_away(judged)

    def _resolve(self, body: bytes) -> None:
        """Give every work the bytes of its parts: those that it has, those of its neighbours, those that came."""
        pool: dict[str, bytes] = {}
        for work in self.works:
            for name, digest in work.kept.listing:
                pool[digest] = work.kept.parts[name]
        fresh = parts.unpack(self.blobs, body, pool)
        checked: Checked = {}
        for work in self._open_works():
            self._guarded(work, lambda work: self._resolve_one(work, pool, fresh, checked))

    def _resolve_one(
        self, work: Work, pool: dict[str, bytes], wrong: dict[str, str], checked: Checked
    ) -> None:
        listing = work.request["parts"]
        missing = [digest for _name, digest in listing if digest not in pool]
        for digest in missing:
            if digest in wrong:
                raise Failure("a part did not arrive as it was sent: %s" % wrong[digest])
        if missing:
            work.turn_away(guard.Judgement(words.STANDS), missing)
            return
        before = {pair[0]: pair[1] for pair in work.kept.listing}
        for name, digest in listing:
            was = before.get(name)
            if was == digest:
                continue
            if (name, digest) not in checked:
                known = work.kept.parts.get(name, b"")
                checked[name, digest] = was, messages.part_entries(name, pool[digest], known)
            if checked[name, digest][0] == was:
                work.differing[name] = checked[name, digest][1]
        work.parts = [(name, digest, pool[digest]) for name, digest in listing]
        matches = work.matches()
        if matches is not None:
            work.parts = parts.composed(work.parts, work.kept, matches)

    def _compare(self, work: Work) -> None:
        """Compare what was, what is, and what is wanted; fill `plan` and `needs`."""
        request, matches = work.request, work.matches()
        areas = [area.encode() for area in work.areas]
        read_all = request["criterion"] == "hash" or request["full"]
        if work.place is not None and words.RELEASES not in work.areas:
            work.overlay = overlay.look(work.place, work.kept, work.digests, read_all, matches)
        work.seen = tree.Seen()
        work.as_known = not read_all and work.plain() and work.is_as_known()
        if work.as_known and work.same_parts():
            work.seen, work.compared = tree.Seen(), None
            work.take_up(compare.Plan(), {})
            self._check_plan(work)
            return
        differing = work.changed() if work.plain() else None
        if work.as_known and differing is not None and len(differing) <= FEW:
            work.ancestor, wanted = work.narrowed(differing)
        else:
            wanted = work.ancestor = work.kept.ancestor()
            if work.kept.exceptions or work.overlay.lines or not work.same_parts():
                wanted = work.overlay.over(work.wanted())
        work.keep = work.nodes_own()
        if work.as_known:
            work.seen.same = set(work.ancestor)
        elif work.place is not None:
            work.seen = tree.walk(
                work.place.handles, areas, work.ancestor, work.reader() if read_all else None
            )
            self._find_out(work, wanted, read_all)
        _all_in_sight(work, wanted, matches)
        plain = matches is None and work.keep is None and not request["full"]
        if plain and work.looks_as_before(wanted):
            self._check_plan(work)
            return
        plan = compare.plan(
            work.ancestor,
            wanted,
            work.seen,
            policy=request["deviations"],
            full=request["full"],
            matches=matches,
            excluded=work.excluded(),
            keep=work.keep,
            differing=differing,
        )
        work.take_up(plan, wanted)
        if matches is not None:
            work.carry_exceptions(matches)
        work.compared = (work.ancestor, wanted, work.seen) if plain else None
        self._check_plan(work)

    def _find_out(self, work: Work, wanted: dict[bytes, bytes], read_all: bool) -> None:
        assert work.place is not None and work.digests is not None
        for path in compare.questions(
            work.ancestor, wanted, work.seen, trust_modtime=not read_all, keep=work.keep
        ):
            status = by_handle.lstat(work.place.handles, path)
            if status is None:
                continue
            try:
                digest = work.digests.of(path, status)
            except OSError as error:
                work.seen.problems.append((path, error.strerror or str(error)))
                continue
            work.seen.other[path] = work.seen.other[path]._replace(digest=digest)

    def _check_plan(self, work: Work) -> None:
        work.sizes = {entry.digest: entry.size for entry in work.plan.place if entry.kind == "f"}
        work.needs = []
        policy = work.request["deviations"]
        if policy == "fail" and work.plan.deviations:
            raise Failure(
                "changed on the node since it was synchronised: "
                + report.some(item.path for item in work.plan.deviations),
                "look at them on the node; --deviations overwrite replaces them and keeps them aside",
            )
        if words.RELEASES in work.areas:
            from dasctl.remote import software

            software.check_removed(work, self.node)
        if work.plan.changes or work.plan.rmdir:
            from dasctl.remote import dangers

            dangers.check_mounts(work)
            work.deletion = dangers.mass_deletion(work)
            if work.deletion and not work.request["mass_deletion"] and not self.dry_run:
                work.fail(dangers.refusal(work.deletion), mass_deletion=work.deletion)

    def _share(self) -> None:
        """Stage all contents that the node has already; each work's `needs` are the others."""
        self.looked = time.monotonic()
        if any(work.sizes or work.plan.changes for work in self._open_works()):
            from dasctl.remote import sharing

            with sharing.Neighbours(self.node, self.domain, [work.name for work in self.works]) as neighbours:
                sharing.stage_here(self.works, self._guarded, neighbours)

    def _receive(self, link: Link) -> bool:
        """Read content frames up to the end; True where contents came, and for so long that the disk has to be looked at
        again."""
        from dasctl.remote import receive

        stores = [work.fresh for work in self._open_works() if work.needs and work.fresh is not None]
        if not stores:
            receive.contents(link, ())
            return False
        from dasctl.remote import sharing

        with sharing.Neighbours(self.node, self.domain, [work.name for work in self.works]) as neighbours:
            frames = receive.contents(
                link, stores, lambda digest: sharing.base(self.works, neighbours, digest)
            )
        for work in self._open_works():
            if work.fresh is not None and work.fresh.failure is not None and work.place is not None:
                work.fail(state.explained(work.fresh.failure, work.place.path))
                continue
            work.needs = work.fresh.lacking() if work.fresh is not None else work.needs
        return frames > 0 and time.monotonic() - self.looked > STILL_S

    def _finish(self, work: Work) -> None:
        if self.dry_run:
            work.reply = self._foreseen(work)
            return
        if work.needs:
            from dasctl.remote import sharing

            work.reply = {
                "name": work.name, "verdict": words.NEEDS, "bytes": 0,
                "contents": sharing.told(work),
            }  # fmt: skip
            return
        if not self.hold:
            self._commit(work)
            return
        from dasctl.remote import holding

        work.reply = holding.staged(work, self.most)

    def _foreseen(self, work: Work) -> Reply:
        lacking = []
        if work.sizes:
            from dasctl.remote import foreseeing

            lacking = foreseeing.foresee(self.works, work, self.node, self.domain)
        reply = report.report(work, [], "", self.most)
        reply["contents"] = lacking
        if work.deletion:
            reply["mass_deletion"] = work.deletion
        if work.place is not None and commit.interrupted(work.place):
            reply["interrupted"] = (
                True  # what was looked at is the middle of a commit, which the next request finishes
            )
        return reply

    def _look_again(self, work: Work) -> None:
        """The plan anew: what a server has changed since the first look is a deviation, and not overwritten unseen."""
        from dasctl.remote import holding

        holding.still_ours(work)
        self._compare(work)

    def _commit(self, work: Work) -> None:
        if self.hold:
            from dasctl.remote import holding

            holding.all_there(work)
        place, plan = work.place, work.plan
        problems, aside = writing.carry_out(work, self.domain, self.epoch, self.local)
        if problems and work.keep is not None and place is not None:
            from dasctl.remote import keeping

            keeping.remember_unmade(place, plan, work.keep, [path for path, _message in problems])
        work.reply = report.report(work, problems, aside, self.most)


def _all_in_sight(work: Work, wanted: dict[bytes, bytes], matches: Callable[[bytes], bool] | None) -> None:
    """A folder that cannot be read may stay as it is, but not when something in it has to change."""
    hidden = compare.hidden(work.ancestor, wanted, work.seen, matches, work.keep)
    if hidden:
        raise Failure(
            "has to change, but lies in a folder that cannot be read on the node: " + report.some(hidden),
            "give the user that dasctl logs in as read and write access to %s there, then synchronise again"
            % report.some(work.seen.unseen),
        )

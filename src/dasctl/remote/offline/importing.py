"""The import of a bundle: what the DAS would do over a link, done by the node itself with what is in the file.

What lives here: the order of things, and what an answer leads to. The guard, the comparison, the space, the journal are
the helper's own (`remote/sync.py`). What must not: the file's form (`bundle.py`), the choice (`choosing.py`), screens.
"""

from __future__ import annotations

import zlib

from dasctl.remote import frames, messages, words
from dasctl.remote.offline import bundle as bundles
from dasctl.remote.offline.bundle import BundleError
from dasctl.remote.offline.conversation import Conversation, HelperEnded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dasctl.remote.offline.bundle import Bundle

    Row = dict[str, Any]

TRIPS = 6  # for one directory: judged, elsewhere in the chain, contents, and as much again if it is changed meanwhile
LEVEL = 1  # zlib, for manifests that go no further than to the next thread

SYNCHRONISED = "synchronised"
UNCHANGED = "unchanged"
FAILED = "failed"
REFUSED = "refused"


class _Course:
    """How far one instance has come. `reply`: the helper's last word; `row`: the end."""

    def __init__(self, item: dict[str, Any], since: list[Any] | None) -> None:
        self.item = item
        self.name: str = item["request"]["name"]
        self.expect = since
        self.reply: Row = {}
        self.needs: list[str] = []
        self.sent = 0
        self.row: Row | None = None


class Import:
    """One import. `before` is called ahead of each change to the disk: tests stop there."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        dry_run: bool = False,
        mass_deletion: bool = False,
        before: Callable[[str], None] = lambda operation: None,
    ) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.dry_run = dry_run
        self.mass_deletion = mass_deletion
        self.before = before

    def carry_out(self, chosen: dict[str, list[dict[str, Any]]]) -> list[Row]:
        """Bring the chosen instances (by directory) to the bundle's revision; a row each, as in the JSON document."""
        rows: list[Row] = []
        for folder, items in chosen.items():
            courses = [_Course(item, self.manifest["since"]) for item in items]
            try:
                conversation = Conversation(self.before)
                try:
                    self._converse(conversation, folder, courses)
                finally:
                    conversation.close()
            except (HelperEnded, BundleError) as error:
                for course in courses:
                    if course.row is None:
                        course.row = _row(course, FAILED, error.message, error.hint)
            rows += [course.row for course in courses if course.row is not None]
        return rows

    def _converse(self, conversation: Conversation, folder: str, courses: list[_Course]) -> None:
        for _trip in range(TRIPS):
            left = [course for course in courses if course.row is None]
            feeding = [course for course in left if course.needs]
            if feeding:
                wanted = list(dict.fromkeys(digest for course in feeding for digest in course.needs))
                header = self._envelope(words.CONTENTS, folder)
                reply = conversation.ask(header, b"", self._contents(wanted, feeding[0]))
                self._judge(reply, feeding)
            elif left:
                reply = conversation.ask(*self._request(folder, left))
                self._judge(reply, left)
        for course in courses:
            if course.row is None:
                course.row = _row(course, FAILED, "no end after %d trips" % TRIPS, "run the command again")

    def _envelope(self, op: str, folder: str) -> Row:
        manifest = self.manifest
        return {
            "op": op, "dir": folder, "domain": manifest["domain"]["id"], "name": manifest["domain"]["name"],
            "epoch": manifest["lead"]["epoch"],
        }  # fmt: skip

    def _request(self, folder: str, courses: list[_Course]) -> tuple[Row, bytes, list[bytes]]:
        header = self._envelope(words.SYNC, folder)
        needed = dict.fromkeys(
            digest for course in courses for _name, digest in course.item["request"]["parts"]
        )
        blobs, body = [], b""
        for digest in needed:
            if digest in self.manifest["parts"]:
                packed = zlib.compress(self.bundle.part(digest), LEVEL)
                base = self.manifest["parts"][digest]["base"]
                blobs.append({"part": digest, "base": base, "size": len(packed)})
                body += packed
        instances = [
            dict(
                course.item["request"], expect=course.expect, lead=self.manifest["lead"],
                config_id=self.manifest["lead"]["config_id"], mass_deletion=self.mass_deletion,
            )
            for course in courses
        ]  # fmt: skip
        header.update(dry_run=self.dry_run, blobs=blobs, instances=instances)
        return header, body, [frames.encode({"end": True})]

    def _contents(self, wanted: list[str], course: _Course) -> Iterator[bytes]:
        """Content frames of these, in pieces; nothing large is kept in memory."""
        for digest in wanted:
            offset, last = 0, b""
            pieces = self.bundle.pieces(digest)
            last = next(pieces, b"")
            for piece in pieces:
                yield _frame(digest, last, offset, False)
                offset += len(last)
                last = piece
            yield _frame(digest, last, offset, True)
            course.sent += offset + len(last)
        yield frames.encode({"end": True})

    # What an answer leads to.

    def _judge(self, reply: Row, courses: list[_Course]) -> None:
        items = {item["name"]: item for item in reply["instances"]}
        for course in courses:
            course.reply, course.needs = items[course.name], []
            verdict = course.reply["verdict"]
            if verdict in (words.DONE, words.UNCHANGED):
                course.row = _row(course, UNCHANGED if verdict == words.UNCHANGED else SYNCHRONISED)
                if not self.dry_run:
                    course.row["revision"] = self.manifest["lead"]["revision"]
            elif verdict == words.NEEDS:
                self._needs(course)
            elif verdict == words.STANDS:
                self._stands(course)
            elif verdict == words.REFUSED:
                course.row = self._refused(course)
            else:
                course.row = _row(
                    course, FAILED, course.reply.get("message", "failed"), self._failed_hint(course.reply)
                )

    def _failed_hint(self, reply: Row) -> str:
        if reply.get("mass_deletion"):
            return "look with --dry-run; if that is meant: --yes"
        return str(reply.get("hint", ""))

    def _needs(self, course: _Course) -> None:
        asked = [item if isinstance(item, str) else str(item[0]) for item in course.reply["contents"]]
        lacking = {digest for digest in asked if not self.bundle.has(digest)}
        if not lacking:
            course.needs = asked
            return
        named = self._paths(course, lacking)
        course.row = _row(
            course, FAILED, "the bundle lacks contents that are not here either: %s" % ", ".join(named),
            "export a bundle without --since: files that were changed or lost here are restored from that",
        )  # fmt: skip

    def _paths(self, course: _Course, digests: set[str]) -> list[str]:
        """Which files these contents belong to, as far as the bundle's whole parts tell."""
        found: list[str] = []
        for _name, digest in course.item["request"]["parts"]:
            part = self.manifest["parts"].get(digest)
            if part is not None and part["base"] is None:
                found += bundles.paths_of(self.bundle.part(digest), digests)
        return (
            [*found[:5], "…"] if len(found) > 5 else found or [digest[:12] for digest in sorted(digests)[:5]]
        )

    def _stands(self, course: _Course) -> None:
        """It stands elsewhere than expected: go on from there where the bundle leads on from there."""
        at, manifest = course.reply.get("at"), self.manifest
        since, lead = manifest["since"], manifest["lead"]
        if at is None and since is None:
            course.expect = None
            return
        place = None if at is None else [at["revision"], at["digest"]]
        if since is not None:
            course.row = self._not_from_there(course, since, place)
        elif place in manifest["chain"]:
            course.expect = place
        elif place is not None and place[0] > lead["revision"]:
            course.row = _row(
                course, REFUSED,
                "%s stands at %s, which is newer than this bundle's revision %d"
                % (course.name, story(at), lead["revision"]),
                "export a new bundle, and import that",
            )  # fmt: skip
        else:
            course.row = _row(
                course, REFUSED,
                "%s stands at %s, which the domain of this bundle does not know: another copy of it has administered "
                "it since" % (course.name, story(at)),
                "use that copy; if this one shall have authority: dasctl take-over on the DAS, then export again",
            )  # fmt: skip

    def _not_from_there(self, course: _Course, since: list[Any], place: list[Any] | None) -> Row:
        """A bundle of changes fits one place alone."""
        lead = self.manifest["lead"]["revision"]
        leads = "this bundle leads from revision %d to %d" % (since[0], lead)
        if course.reply.get("missing"):
            return _row(
                course, REFUSED,
                "%s stands at revision %d, but what it keeps of it is damaged" % (course.name, since[0]),
                "export a bundle without --since",
            )  # fmt: skip
        if place is None:
            message = "%s has never been synchronised here; %s" % (course.name, leads)
            return _row(course, REFUSED, message, "export a bundle without --since")
        message = "%s stands at %s; %s" % (course.name, story(course.reply["at"]), leads)
        if place in self.manifest["chain"]:
            hint = "export one from there: export-sync-bundle %s FILE --since %d" % (course.name, place[0])
        elif place[0] > lead:
            hint = "it is newer than this bundle: export a new one"
        else:
            hint = "this domain does not know that revision: another copy of it has administered it since"
        return _row(course, REFUSED, message, hint)

    def _refused(self, course: _Course) -> Row:
        reply = course.reply
        message = "%s: %s" % (course.name, reply.get("message") or reply.get("reason"))
        if reply.get("at"):
            message += "; it stands at %s" % story(reply["at"])
        hint = {
            words.ANOTHER_DOMAIN: "this bundle is for the domain %s: name the directory of that one, --nodedir DIR"
            % self.manifest["domain"]["name"],
            words.FENCED: "another DAS took over since this bundle was made: export one there",
            words.NEWER_FORMAT: "use the newer dasctl that wrote it",
        }.get(str(reply.get("reason")), "")
        return _row(course, REFUSED, message, hint)


def story(at: Any) -> str:
    """`revision 9 (made by alice on das2 with 'sync-cluster web')`."""
    command = " with '%s'" % at["command"] if at.get("command") else ""
    return "revision %s (made by %s on %s%s)" % (at["revision"], at.get("who"), at.get("host"), command)


def _frame(digest: str, piece: bytes, offset: int, last: bool) -> bytes:
    return frames.encode({"content": digest, "z": False, "offset": offset, "last": last}, piece)


def _row(course: _Course, status: str, message: str = "", hint: str = "") -> Row:
    reply = course.reply
    at = reply.get("at")
    row: Row = {
        "instance": course.name, "node": course.item["node"], "status": status,
        "revision": at["revision"] if at else None,
        "files_changed": reply.get("changed", 0) + reply.get("touched", 0),
        "files_deleted": reply.get("deleted", 0),
        "bytes_read": course.sent,
        "deviations": reply.get("deviations", []),
    }  # fmt: skip
    for key in ("changes", "problems"):
        if reply.get(key):
            row[key] = reply[key]
    if message:
        row["error"] = {"message": message, "hint": hint}
    return row


def exit_code(rows: list[Row]) -> int:
    """What the shell sees, as of a synchronisation (docs/exit-codes.md)."""
    bad = [row for row in rows if row["status"] in (FAILED, REFUSED)]
    if not bad:
        return 0
    if len(bad) < len(rows):
        return 3
    return 6 if any(row["status"] == REFUSED for row in bad) else 1


def run(
    path: str,
    *,
    node_dir: str | None,
    names: list[str],
    dry_run: bool = False,
    mass_deletion: bool = False,
) -> tuple[dict[str, Any], list[Row]]:
    """Open, check, choose, import: (manifest, a row per instance). Raises BundleError before anything is changed."""
    from dasctl.remote.offline import choosing

    bundle = bundles.Bundle(path)
    try:
        bundle.check()
        meant = choosing.chosen(bundle.manifest, node_dir, names)
        importing = Import(bundle, dry_run=dry_run, mass_deletion=mass_deletion)
        return bundle.manifest, importing.carry_out(meant)
    except messages.BadMessage as error:
        raise BundleError(str(error)) from None
    finally:
        bundle.close()

"""`python3 BUNDLE`: the import on a node without dasctl. Its words and its screen.

What lives here: parsing, printing, the exit code; what is foreign is printed escaped. What must not: the import.
"""

from __future__ import annotations

import json
import sys
import time

from dasctl.remote.offline import importing
from dasctl.remote.offline.bundle import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = "import-sync-bundle"
USAGE = 2


def main(path: str, arguments: list[str]) -> int:
    """Import the bundle at `path`; the exit code."""
    options = _parsed(path, arguments)
    started = time.monotonic()
    try:
        manifest, rows = importing.run(
            path, node_dir=options.nodedir, names=options.instance, dry_run=options.dry_run, mass_deletion=options.yes
        )  # fmt: skip
    except BundleError as error:
        return _failed(options, error)
    code = importing.exit_code(rows)
    if options.json:
        _say(json.dumps(_document(manifest, rows, code, time.monotonic() - started, options.dry_run)))
    else:
        _show(manifest, rows, options)
    return code


def _parsed(path: str, arguments: list[str]) -> Any:
    import argparse

    parser = argparse.ArgumentParser(
        prog="python3 %s" % path,
        description="Bring the instances of this machine to the state in this bundle.",
    )
    parser.add_argument(
        "--nodedir", "--node-dir", metavar="DIR", help="the node's directory [default: as in the domain]"
    )
    parser.add_argument(
        "--instance", metavar="NAME", action="append", default=[],
        help="an instance of this machine; repeatable [default: those whose folders are here]",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument(
        "--yes", action="store_true", help="delete also more than half of an instance's files"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quiet", "-q", action="store_true", help="print nothing where nothing has changed")
    return parser.parse_args(arguments)


def _failed(options: Any, error: BundleError) -> int:
    code = USAGE if error.usage else 1
    if options.json:
        told = {"message": error.message, "hint": error.hint}
        _say(json.dumps({
            "command": COMMAND, "status": "failed", "exit_code": code, "revision": None, "results": [], "error": told,
        }))  # fmt: skip
    else:
        _complain(error.message, error.hint)
    return code


def _document(
    manifest: dict[str, Any], rows: list[dict[str, Any]], code: int, seconds: float, dry_run: bool
) -> dict[str, Any]:
    unchanged = all(row["status"] == importing.UNCHANGED for row in rows)
    status = {0: "unchanged" if unchanged else "ok", 3: "partial", 6: "refused"}.get(code, "failed")
    document = {
        "command": COMMAND, "status": status, "exit_code": code, "revision": manifest["lead"]["revision"],
        "seconds": round(seconds, 3), "results": rows,
    }  # fmt: skip
    return dict(document, dry_run=True) if dry_run else document


def _show(manifest: dict[str, Any], rows: list[dict[str, Any]], options: Any) -> None:
    for row in rows:
        name = row["instance"]
        if "error" not in row and not (options.quiet and row["status"] == importing.UNCHANGED):
            _say("%s  %s%s" % (name, *_done(row, options.dry_run)))
        if options.dry_run:
            for change in row.get("changes", ()):
                _say("%s  %s  %s" % (name, change["why"], change["path"]))
        for item in row["deviations"]:
            _say("%s: %s is %s: %s" % (name, item["path"], item["kind"], _answer(item, options.dry_run)))
        for item in row.get("problems", ()):
            _complain("%s: %s: %s" % (name, item["path"], item["message"]), "")
        if "error" in row:
            _complain("%s: %s" % (name, row["error"]["message"]), row["error"]["hint"])
    if not options.quiet:
        _say("revision %d of the domain %s" % (manifest["lead"]["revision"], manifest["domain"]["name"]))


def _done(row: dict[str, Any], dry_run: bool) -> tuple[str, str]:
    if not dry_run:
        return row["status"], _counts(row)
    return "dry run", _counts(row) or "  nothing would change"


def _answer(item: dict[str, Any], dry_run: bool) -> str:
    """What becomes of a file that was changed on the node."""
    if dry_run:
        return "would be %s" % item["action"]
    return "%s%s" % (item["action"], ", the file is kept in %s" % item["aside"] if item.get("aside") else "")


def _counts(row: dict[str, Any]) -> str:
    words = []
    if row["files_changed"]:
        words.append("%d file%s" % (row["files_changed"], "" if row["files_changed"] == 1 else "s"))
    if row["files_deleted"]:
        words.append("%d deleted" % row["files_deleted"])
    return "  " + ", ".join(words) if words else ""


def _say(text: str) -> None:
    sys.stdout.write(_plain(text) + "\n")
    sys.stdout.flush()


def _complain(message: str, hint: str) -> None:
    sys.stderr.write("dasctl: %s\n" % _plain(message))
    if hint:
        sys.stderr.write("  hint: %s\n" % _plain(hint))


def _plain(text: str) -> str:
    """Text that a terminal cannot obey: a file's name may hold anything. Bytes that are not UTF-8 are shown as such."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if 0xDC80 <= ord(char) <= 0xDCFF:
        return "\\x%02x" % (ord(char) - 0xDC00)
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")

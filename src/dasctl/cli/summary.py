"""The last line of an outcome: what was done, to how many, in what time."""

from __future__ import annotations

from collections.abc import Iterable

from dasctl.cli import past_screen, tables, text
from dasctl.cli.dry_run_screen import dry_run_summary
from dasctl.core.outcome import FAILED, REFUSED, SKIPPED, UNCHANGED, UNREACHABLE, Outcome, Result

ON_INSTANCES = frozenset(
    (
        "sync-instance", "sync-cluster", "sync-domain", "start-instance", "start-cluster", "stop-instance", "stop-cluster",
        "restart-instance", "restart-cluster",
    )
)  # fmt: skip
SYNCHRONISING = frozenset(
    (
        "sync-instance", "sync-cluster", "sync-domain", "sync-local-instance", "deploy", "redeploy", "undeploy", "enable",
        "disable", "rollback-application", "rollback",
    )
)  # fmt: skip


def summary_of(outcome: Outcome) -> str:
    """What a person wants to know in one line; empty where the rows or notes say it all."""
    if outcome.command in ON_INSTANCES and not (outcome.results or outcome.notes or outcome.error):
        return "no instances there: nothing to do"
    if (
        outcome.command
        in (
            *tables.READING,
            "export-sync-bundle",
            "backup-domain",
            "restore-domain",
            "run",
            "tail-log",
            "dump",
        )
        or not outcome.results
        or past_screen.shows(outcome)
    ):
        return ""
    epoch = f", epoch {outcome.data['epoch']}" if "epoch" in outcome.data else ""
    at = f" (revision {outcome.revision}{epoch})" if outcome.revision is not None else ""
    if outcome.data.get("dry_run"):
        return dry_run_summary(outcome)
    if outcome.command not in tables.ACTIONS:
        return ""
    if outcome.status == UNCHANGED:
        names = text.folded(tables.name_of(result) for result in outcome.results)
        said = {result.note for result in outcome.results}
        return f"{text.plain(said.pop()) if len(said) == 1 and said != {''} else 'unchanged'}: {names}{at}"
    if outcome.command == "collect-log-files":
        return _collected(outcome)
    return f"{_tally(outcome)}{_volume(outcome)}, in {text.duration(outcome.seconds)}{at}"


def _collected(outcome: Outcome) -> str:
    data = outcome.data
    file = text.path_text(str(data.get("file", "")))
    what = f"{text.count(data.get('files', 0), 'file')}, {text.size(data.get('bytes', 0))}"
    return f"{_tally(outcome)}: {what}, in {file} ({text.size(data.get('size', 0))})" if file else ""


def _tally(outcome: Outcome) -> str:
    """`synchronised 2 of 3 instances, 1 unchanged`; the words are the results' own statuses."""
    counts: dict[str, int] = {}
    for result in outcome.results:
        counts[result.status] = counts.get(result.status, 0) + 1
    bad = [status for status in (FAILED, REFUSED, UNREACHABLE, SKIPPED) if status in counts]
    changed = [status for status in counts if status != UNCHANGED and status not in bad]
    order = [*changed, *([UNCHANGED] if UNCHANGED in counts else []), *bad]
    noun = "instance" if outcome.results[0].instance is not None else "node"
    first, *others = order
    total = text.count(len(outcome.results), noun)
    return ", ".join([f"{first} {counts[first]} of {total}", *(f"{counts[word]} {word}" for word in others)])


def _volume(outcome: Outcome) -> str:
    if not any(result.good for result in outcome.results):
        return ""  # what was sent before it failed is not known here, and is no "0 B"
    if outcome.command not in SYNCHRONISING:
        return ""
    total = {
        key: sum(result.fields.get(key) or 0 for result in outcome.results)
        for key in ("files_changed", "files_deleted", "bytes_sent")
    }
    words = [text.count(total["files_changed"], "file")]
    if total["files_deleted"]:
        words.append(f"{total['files_deleted']:,} deleted")
    words.append(f"{text.size(total['bytes_sent'])} sent")
    return ": " + ", ".join(words)


def changes(outcome: Outcome) -> Iterable[tuple[Result, dict[str, str]]]:
    for result in outcome.results:
        for change in result.fields.get("changes") or ():
            yield result, change

"""Shows one outcome: as text for people, as tab-separated rows, or as one JSON document.

What lives here: which lines are printed where. Results go to standard output, messages to standard error. What must
not: deciding anything about the outcome; its exit code is the command's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TextIO

from dasctl.cli import tables, text
from dasctl.cli.call import Settings
from dasctl.cli.palette import Palette, is_screen, palette_for
from dasctl.core.outcome import FAILED, REFUSED, UNCHANGED, UNREACHABLE, Outcome, Problem, Result

FOLD_ABOVE = 8  # equal rows of an action: fewer are read at a glance
READING = frozenset((*tables.LISTS, "verify-domain", "member-key"))  # they never change a state
SYNCHRONISING = frozenset(("sync-instance", "sync-cluster", "sync-domain", "sync-local-instance"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where to print, and how wide and colourful. `columns` None: as wide as it gets."""

    out: TextIO
    err: TextIO
    settings: Settings
    palette: Palette
    err_palette: Palette
    columns: int | None
    now: float

    def line(self, words: str = "") -> None:
        self.out.write(words + "\n")

    def message(self, words: str, *, mark: str = "", colour: str = "red") -> None:
        """A message with its lines: the first behind `dasctl: `, the others below it."""
        first, *others = text.lines(words)
        prefix = self.err_palette.paint("dasctl:", colour)
        self.err.write(f"{prefix} {mark}{first}\n")
        for other in others:
            self.err.write(f"  {other}\n")

    def hint(self, words: str) -> None:
        for line in text.lines(words) if words else []:
            self.err.write(f"  {self.err_palette.paint('hint:', 'dim')} {line}\n")


def screen_for(out: TextIO, err: TextIO, settings: Settings, *, now: float) -> Screen:
    """The screen for these streams: only a terminal has a width and colours."""
    columns = shutil.get_terminal_size((80, 24)).columns if is_screen(out) else None
    return Screen(
        out=out, err=err, settings=settings, palette=palette_for(out), err_palette=palette_for(err),
        columns=columns, now=now,
    )  # fmt: skip


def show_results(outcome: Outcome, screen: Screen, *, long: bool = False) -> None:
    """Print what `outcome` holds on standard output, as the settings ask."""
    settings = screen.settings
    if settings.json:
        screen.line(document(outcome))
    elif settings.quiet and _nothing_new(outcome):
        pass
    elif settings.terse:
        _show_terse(outcome, screen)
    else:
        _show_text(outcome, screen, long=long)
    screen.out.flush()


def show_messages(outcome: Outcome, screen: Screen) -> None:
    """Print warnings and failures on standard error; in JSON they are in the document."""
    settings = screen.settings
    if not settings.json and not (settings.quiet and _nothing_new(outcome)):
        _show_messages(outcome, screen)


def document(outcome: Outcome) -> str:
    """The outcome as one line of JSON in ASCII: any name passes, also one that is not UTF-8."""
    return json.dumps(outcome.as_json(), ensure_ascii=True, default=str)


def _nothing_new(outcome: Outcome) -> bool:
    good = outcome.error is None and outcome.exit_code == 0
    return good and (outcome.status == UNCHANGED or outcome.command in READING)


# --- tab-separated rows ----------------------------------------------------------------------------------------------


def _show_terse(outcome: Outcome, screen: Screen) -> None:
    if outcome.data.get("dry_run"):
        for result, change in _changes(outcome):
            screen.line("\t".join((tables.name_of(result), change["why"], text.path_text(change["path"]))))
        return
    if "line" in outcome.data:
        screen.line(text.plain(outcome.data["line"]))
        return
    columns = tables.terse_columns(outcome.command)
    for result in outcome.results:
        cells = [_raw(tables.value_of(result, column.key)) for column in columns]
        said = result.error.message if result.error else result.note
        screen.line("\t".join([*cells, _raw(said)]))


def _raw(value: Any) -> str:
    match value:
        case None | "":
            return tables.ABSENT
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.3f}"
        case list() | tuple():
            return ",".join(text.path_text(str(item)) for item in value) or tables.ABSENT
        case _:
            return text.path_text(str(value))


# --- text ------------------------------------------------------------------------------------------------------------


def _show_text(outcome: Outcome, screen: Screen, *, long: bool) -> None:
    if "line" in outcome.data:  # made to be copied: nothing around it, nothing folded
        screen.line(text.plain(outcome.data["line"]))
    elif outcome.data.get("dry_run"):
        _show_dry_run(outcome, screen)
    elif outcome.command in tables.LISTS:
        _show_list(outcome, screen, long=long)
    elif outcome.command == "verify-domain":
        _show_domain(outcome, screen)
    elif outcome.command not in tables.ACTIONS:
        _show_edit(outcome, screen)
    else:
        _show_action(outcome, screen)
    for note in outcome.notes:
        for line in text.lines(note):
            screen.line(line)
    summary = summary_of(outcome)
    if summary:
        screen.line(
            screen.palette.paint(summary, "bold") if outcome.status not in (UNCHANGED, FAILED) else summary
        )


def _show_list(outcome: Outcome, screen: Screen, *, long: bool) -> None:
    if not outcome.results:
        if outcome.error is None and not outcome.notes:
            screen.line(_NOTHING.get(outcome.command, "nothing to list"))
        return
    if outcome.command == "list-clusters":
        _show_clusters(outcome, screen)
        return
    columns = tables.shown_columns(outcome.command, outcome.results, long=long)
    rows = [
        [column.form(tables.value_of(result, column.key), screen.now) for column in columns]
        for result in outcome.results
    ]
    print_rows(rows, screen, headings=[column.heading for column in columns])
    if screen.settings.verbose:
        _show_checks(outcome, screen)


def _show_checks(outcome: Outcome, screen: Screen) -> None:
    """What was looked at on each node, line by line."""
    rows = [
        [
            tables.name_of(result), "ok" if check.get("ok") else "failed", text.plain(str(check.get("check", ""))),
            text.plain(str(check.get("detail", ""))),
        ]
        for result in outcome.results
        for check in result.fields.get("checks") or ()
    ]  # fmt: skip
    if rows:
        screen.line()
        print_rows(rows, screen)


def _show_clusters(outcome: Outcome, screen: Screen) -> None:
    """asadmin's words: `web running`; and how many where it is not all, or who where nobody was asked."""
    rows = []
    for result in outcome.results:
        fields = result.fields
        state, members = text.plain(str(fields.get("state") or "")), list(fields.get("instances") or ())
        detail = "" if state else text.folded(members)
        if state == "partially running" and "running" in fields:
            detail = f"{fields['running']} of {len(members)}"
        rows.append([tables.name_of(result), state, detail])
    print_rows(rows, screen)


_NOTHING = {
    "list-nodes": "no nodes; `dasctl create-node-ssh NAME --nodehost HOST` adds one",
    "list-clusters": "no clusters; `dasctl create-cluster NAME` adds one",
    "list-instances": "no instances; `dasctl create-instance NAME --node NODE` adds one",
    "history": "no revisions yet",
}


def _show_action(outcome: Outcome, screen: Screen) -> None:
    if outcome.status == UNCHANGED and not screen.settings.verbose and summary_of(outcome):
        _show_deviations(outcome, screen)
        return
    rows = [
        [
            tables.name_of(result),
            text.plain(result.node or "") if result.instance else "",
            result.status,
            _what(result),
        ]
        for result in outcome.results
    ]
    print_rows(fold_rows(rows), screen)
    if screen.settings.verbose:
        for result, change in _changes(outcome):
            screen.line(f"  {tables.name_of(result)}  {change['why']}  {text.path_text(change['path'])}")
    _show_deviations(outcome, screen)


def _show_domain(outcome: Outcome, screen: Screen) -> None:
    for result in outcome.results:
        counted = (
            text.count(result.fields[f"{noun}s"], noun)
            for noun in ("node", "cluster", "instance", "application")
            if f"{noun}s" in result.fields
        )
        screen.line(
            f"the domain {text.plain(str(result.fields.get('domain', '')))} is valid: {', '.join(counted)}"
        )


def _show_edit(outcome: Outcome, screen: Screen) -> None:
    """What was created, changed or deleted: one sentence, and the facts that somebody has to check."""
    at = f" (revision {outcome.revision})" if outcome.revision is not None else ""
    for result in outcome.results:
        if not result.good:
            continue
        where = f" on {text.plain(result.node)}" if result.instance and result.node else ""
        screen.line(f"{screen.palette.word(result.status)} {tables.name_of(result)}{where}{at}".rstrip())
        if outcome.command == "create-domain" and result.fields.get("dir"):
            screen.line(f"  in {text.path_text(str(result.fields['dir']))}")
        if result.fields.get("host_key"):
            kind = text.plain(str(result.fields.get("host_key_type") or ""))
            screen.line(f"  host key {text.plain(str(result.fields['host_key']))} {kind}".rstrip())
        if result.note:
            screen.line(f"  {text.plain(result.note)}")


def _what(result: Result) -> str:
    if not result.good:
        return ""  # the message follows on standard error
    return tables.what_of(result)


def fold_rows(rows: list[list[str]]) -> list[list[str]]:
    """Rows that are equal but for who (the first two cells) folded into one, where there are many of them."""
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for row in rows:
        groups.setdefault(tuple(_without_pid(row)), []).append(row)
    folded: list[list[str]] = []
    for same, members in groups.items():
        if len(members) <= FOLD_ABOVE:
            folded.extend(members)
            continue
        names = text.folded(row[0] for row in members)
        nodes = sorted({row[1] for row in members} - {""})
        folded.append([names, text.folded(nodes) if nodes else "", *same])
    return folded


def _without_pid(row: list[str]) -> list[str]:
    """What must agree for rows to be equal: the pid never does, and is no answer."""
    status, what = row[2], row[3]
    return [status, ", ".join(part for part in what.split(", ") if not part.startswith("pid "))]


def print_rows(rows: list[list[str]], screen: Screen, *, headings: list[str] | None = None) -> None:
    """Aligned columns; on a terminal that is too narrow for them, a block of lines per row."""
    rows = _without_empty_columns(rows, headings)
    if headings is not None:
        headings = rows.pop(0)
    table = [[cell.upper() for cell in headings], *rows] if headings else rows
    widest = max((sum(text.width(cell) + 2 for cell in row) - 2 for row in text.aligned(table)), default=0)
    if screen.columns is not None and widest > screen.columns and len(table[0]) > 2:
        _print_blocks(rows, headings, screen)
        return
    for number, row in enumerate(text.aligned(table)):
        if headings and number == 0:
            screen.line(screen.palette.paint("  ".join(row).rstrip(), "dim"))
        else:
            screen.line("  ".join(screen.palette.word(cell) for cell in row).rstrip())


def _without_empty_columns(rows: list[list[str]], headings: list[str] | None) -> list[list[str]]:
    """The rows (behind the headings, where there are some) without columns in which nothing stands."""
    if not rows:
        return [headings] if headings is not None else []
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows)]
    return [[row[i] for i in kept] for row in ([headings] if headings is not None else []) + rows]


def _print_blocks(rows: list[list[str]], headings: list[str] | None, screen: Screen) -> None:
    for row in rows:
        screen.line(screen.palette.paint(row[0], "bold"))
        for i, cell in enumerate(row[1:], start=1):
            if cell and cell != tables.ABSENT:
                label = f"{headings[i]}: " if headings and headings[i] else ""
                screen.line(f"  {label}{screen.palette.word(cell)}")


def _show_dry_run(outcome: Outcome, screen: Screen) -> None:
    rows = [
        [tables.name_of(result), change["why"], text.path_text(change["path"])]
        for result, change in _changes(outcome)
    ]
    for row in text.aligned(rows):  # never in blocks: one line per file, whatever the width
        screen.line("  ".join(row).rstrip())
    _show_deviations(outcome, screen)


def _changes(outcome: Outcome) -> Iterable[tuple[Result, dict[str, str]]]:
    for result in outcome.results:
        for change in result.fields.get("changes") or ():
            yield result, change


def _show_deviations(outcome: Outcome, screen: Screen) -> None:
    for result in outcome.results:
        for deviation in result.fields.get("deviations") or ():
            words = deviation_text(deviation, planned=bool(outcome.data.get("dry_run")))
            screen.line(f"{tables.name_of(result)}: {words}")


_KINDS = {
    "changed": "was changed on the node",
    "missing": "was removed on the node",
    "extra": "is not from the repository",
    "overridden": "is overridden by local/",
}


def deviation_text(deviation: dict[str, Any], *, planned: bool = False) -> str:
    """One deviation as half a sentence: what differs, what was done, where the replaced file is."""
    kind, action = str(deviation.get("kind", "")), str(deviation.get("action", ""))
    words = f"{text.path_text(str(deviation.get('path', '')))} {_KINDS.get(kind, text.plain(kind))}"
    if action:
        words += f": {'would be ' if planned else ''}{text.plain(action)}"
    aside = None if planned else deviation.get("aside")
    return f"{words}, the node's file is kept in {text.path_text(str(aside))}" if aside else words


# --- the last line ---------------------------------------------------------------------------------------------------


def summary_of(outcome: Outcome) -> str:
    """What a person wants to know in one line; empty where the rows or notes say it all."""
    if outcome.command in READING or not outcome.results:
        return ""
    epoch = f", epoch {outcome.data['epoch']}" if "epoch" in outcome.data else ""
    at = f" (revision {outcome.revision}{epoch})" if outcome.revision is not None else ""
    if outcome.data.get("dry_run"):
        return _dry_run_summary(outcome)
    if outcome.status == UNCHANGED:
        names = text.folded(tables.name_of(result) for result in outcome.results)
        said = {result.note for result in outcome.results}
        return f"{text.plain(said.pop()) if len(said) == 1 and said != {''} else 'unchanged'}: {names}{at}"
    if outcome.command not in tables.ACTIONS:
        return ""
    return f"{_tally(outcome)}{_volume(outcome)}, in {text.duration(outcome.seconds)}{at}"


def _dry_run_summary(outcome: Outcome) -> str:
    number = sum(1 for _ in _changes(outcome))
    concerned = sum(1 for result in outcome.results if result.fields.get("changes"))
    of = text.count(len(outcome.results), "instance")
    if not number:
        names = text.folded(tables.name_of(result) for result in outcome.results if result.good)
        return f"dry run: nothing would change: {names}" if names else ""
    return f"dry run: {text.count(number, 'change')} on {concerned} of {of}; nothing was touched"


def _tally(outcome: Outcome) -> str:
    """`synchronised 2 of 3 instances, 1 unchanged`; the words are the results' own statuses."""
    counts: dict[str, int] = {}
    for result in outcome.results:
        counts[result.status] = counts.get(result.status, 0) + 1
    bad = [status for status in (FAILED, REFUSED, UNREACHABLE) if status in counts]
    changed = [status for status in counts if status != UNCHANGED and status not in bad]
    order = [*changed, *([UNCHANGED] if UNCHANGED in counts else []), *bad]
    noun = "instance" if outcome.results[0].instance is not None else "node"
    first, *others = order
    total = text.count(len(outcome.results), noun)
    return ", ".join([f"{first} {counts[first]} of {total}", *(f"{counts[word]} {word}" for word in others)])


def _volume(outcome: Outcome) -> str:
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


# --- messages --------------------------------------------------------------------------------------------------------


def _show_messages(outcome: Outcome, screen: Screen) -> None:
    for warning in outcome.warnings:
        screen.message(warning, mark="warning: ", colour="yellow")
    for result in outcome.results:
        for problem in result.fields.get("problems") or ():
            words = f"{text.path_text(str(problem.get('path', '')))}: {problem.get('message', '')}"
            screen.message(words, mark=f"warning: {tables.name_of(result)}: ", colour="yellow")
    told = _show_failures(outcome, screen)
    error = outcome.error
    if error is not None and not (told and (error.message in told or _only_counts(error))):
        show_problem(error, screen)
    screen.err.flush()


def _only_counts(error: Problem) -> bool:
    """Whether a message is the mere sum of failures that were told one by one."""
    return error.message.endswith(" failed") and error.message[:1].isdigit()


def _show_failures(outcome: Outcome, screen: Screen) -> set[str]:
    """Each failed target with message and hint, those who said the same together; returns the messages told."""
    said: dict[tuple[str, str], list[Result]] = {}
    for result in outcome.results:
        if result.good:
            continue
        problem = result.error or Problem(message=result.note or result.status)
        said.setdefault((problem.message, problem.hint), []).append(result)
    for (message, hint), results in said.items():
        only = results[0] if len(results) == 1 and results[0].instance is None else None
        named = only is not None and message.startswith(f"node {only.node}")
        screen.message(message, mark="" if named else f"{_whose(results)}: ")
        for result in results[:1]:
            _show_last_words(result, screen)
        screen.hint(hint)
    return {message for message, _ in said}


def _whose(results: list[Result]) -> str:
    names = [tables.name_of(result) for result in results]
    if len(results) == 1:
        only = results[0]
        return text.plain(f"{only.instance} on {only.node}" if only.instance and only.node else names[0])
    return text.folded(names)


def _show_last_words(result: Result, screen: Screen) -> None:
    """What a server that died said last, and the command that shows it by hand."""
    for line in result.fields.get("log") or ():
        screen.err.write(f"    {screen.err_palette.paint('|', 'dim')} {text.plain(str(line))}\n")
    if result.fields.get("by_hand"):
        by_hand = text.plain(str(result.fields["by_hand"]))
        screen.err.write(f"  {screen.err_palette.paint('by hand:', 'dim')} {by_hand}\n")


def show_problem(problem: Problem, screen: Screen) -> None:
    """`dasctl: MESSAGE`, and the hint below it."""
    screen.message(problem.message)
    screen.hint(problem.hint)

"""Shows one outcome: as text for people, or as tab-separated rows; JSON documents are written by `session.py`, quickly.

What lives here: which lines are printed where. Results go to standard output, messages to standard error. What must
not: deciding anything about the outcome; its exit code is the command's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from dasctl.cli import messages, past_screen, tables, text
from dasctl.cli.rolling_screen import HEADINGS, is_unfinished, rows_of
from dasctl.cli.screen import Screen
from dasctl.cli.summary import changes, summary_of
from dasctl.core.outcome import FAILED, UNCHANGED, Outcome, Result

FOLD_ABOVE = 8  # equal rows of an action: fewer are read at a glance


def show_results(outcome: Outcome, screen: Screen, *, long: bool = False) -> None:
    """Print what `outcome` holds on standard output, as the settings ask."""
    settings = screen.settings
    if outcome.command == "tail-log" or (settings.quiet and _nothing_new(outcome)):
        pass  # the lines of logs were shown when they came
    elif outcome.command in tables.DOTTED:
        from dasctl.cli.dotted_screen import show_dotted

        show_dotted(outcome, screen)
    elif settings.terse:
        _show_terse(outcome, screen)
    else:
        _show_text(outcome, screen, long=long)
    screen.out.flush()


def show_messages(outcome: Outcome, screen: Screen) -> None:
    """Print warnings and failures on standard error."""
    settings = screen.settings
    if not (settings.quiet and _nothing_new(outcome)):
        messages.show_all(outcome, screen)


def _nothing_new(outcome: Outcome) -> bool:
    good = outcome.error is None and outcome.exit_code == 0
    return good and (outcome.status == UNCHANGED or outcome.command in tables.READING)


# --- tab-separated rows ----------------------------------------------------------------------------------------------


def _show_terse(outcome: Outcome, screen: Screen) -> None:
    if outcome.data.get("dry_run"):
        for result, change in changes(outcome):
            cells = [_raw(change.get(key)) for key in tables.DRY_RUN[1:]]
            screen.line("\t".join((tables.name_of(result), *cells)))
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
    elif past_screen.shows(outcome):
        past_screen.show_past(outcome, screen)
    elif outcome.data.get("dry_run"):
        from dasctl.cli.dry_run_screen import show_dry_run

        show_dry_run(outcome, screen)
        _show_deviations(outcome, screen)
    elif outcome.command in tables.LISTS:
        _show_list(outcome, screen, long=long)
    elif (show := _screen_of_its_own(outcome.command)) is not None:
        show(outcome, screen)
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


def _screen_of_its_own(command: str) -> Callable[[Outcome, Screen], None] | None:
    """What shows the outcomes of a command that looks like no other; imported by those alone."""
    found = tables.OWN_SCREENS.get(command)
    if found is None:
        return None
    module, function = found
    show: Callable[[Outcome, Screen], None] = getattr(import_module(f"dasctl.cli.{module}"), function)
    return show


def _show_list(outcome: Outcome, screen: Screen, *, long: bool) -> None:
    if outcome.command == "list-deviations":
        _show_rows(outcome, [result for result in outcome.results if result.good], screen, long=long)
        from dasctl.cli.comparison_screen import deviations_summary

        summary = deviations_summary(outcome)
        if summary:
            screen.line(summary)
        return
    if not outcome.results:
        if outcome.error is None and not outcome.notes:
            screen.line(_NOTHING.get(outcome.command, "nothing to list"))
        return
    if outcome.command == "list-clusters":
        _show_clusters(outcome, screen)
        return
    _show_rows(outcome, outcome.results, screen, long=long)
    if screen.settings.verbose:
        _show_checks(outcome, screen)


def _show_rows(outcome: Outcome, results: Sequence[Result], screen: Screen, *, long: bool) -> None:
    if not results:
        return
    columns = tables.shown_columns(outcome.command, tuple(results), long=long)
    rows = [
        [
            *(column.form(tables.value_of(result, column.key), screen.now) for column in columns),
            text.plain(result.note),
        ]
        for result in results
    ]
    headings = [*(column.heading for column in columns), ""]
    if outcome.command == "history" and not long:
        from dasctl.cli import history_screen

        headings, rows = history_screen.fitted(headings, rows, screen.columns)
    print_rows(rows, screen, headings=headings)


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
    "list-applications": "no applications; `dasctl deploy ARCHIVE --target TARGET` adds one",
    "history": "no revisions yet",
}


def _show_action(outcome: Outcome, screen: Screen) -> None:
    if is_unfinished(outcome):
        print_rows(rows_of(outcome, screen), screen, headings=list(HEADINGS))
        return
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
        for result, change in changes(outcome):
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
    told: set[tuple[str, ...]] = set()
    for row in rows:  # in the order given: a row of its own, or its group where the first of it stands
        same = tuple(_without_pid(row))
        members = groups[same]
        if len(members) <= FOLD_ABOVE:
            folded.append(row)
            continue
        if same in told:
            continue
        told.add(same)
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

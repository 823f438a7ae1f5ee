"""Writes docs/commands.md and docs/exit-codes.md from the program itself; `--check` says whether they are up to date.

python docs/make_reference.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dasctl.cli import help, tables
from dasctl.cli.app import PANELS, build_app
from dasctl.cli.help import CODES_OF_RUN
from dasctl.errors import ExitCode

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/make_reference.py from the program itself: change it there. -->"


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    return {"commands.md": "\n".join(_commands()) + "\n", "exit-codes.md": "\n".join(_exit_codes()) + "\n"}


def _commands() -> Iterator[str]:
    app = build_app()
    root = _context(app, "dasctl", None)
    yield from (MADE, "", "# Commands", "")
    yield "Every command takes the [global options](#global-options), before its name or after it, and ends with one"
    yield "of the [exit codes](exit-codes.md)."
    for panel, commands in PANELS:
        yield from ("", f"**{panel}:** " + ", ".join(f"[`{name}`](#{name})" for name in commands))
    for panel, commands in PANELS:
        yield from ("", f"## {panel}")
        for name in commands:
            yield from _command(app.commands[name], _context(app.commands[name], name, root), name)
    yield from _global_options(app, root)


def _context(command: Any, name: str, parent: Any) -> Any:
    return (
        command.context_class(command, info_name=name, parent=parent)
        if parent
        else command.make_context(name, [], resilient_parsing=True)
    )


def _command(command: Any, ctx: Any, name: str) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield from ("", f"### {name}", "", "```", f"dasctl {name} {usage}", "```")
    for paragraph in help.paragraphs(command):
        yield ""
        if help.is_example(paragraph):
            yield from ("```sh", paragraph, "```")
        else:
            yield " ".join(paragraph.split())
    for title, rows in help.sections(command, ctx):
        if title != help.GLOBAL:
            yield from ("", *_table(title, rows))
    columns = [column.key for column in tables.terse_columns(name)]
    if name in (*tables.LISTS, *tables.ACTIONS):
        yield from (
            "",
            f"Columns of `--terse`: {', '.join(f'`{key}`' for key in columns)}, and a message or `-`.",
        )
    if "--dry-run" in {word for param in command.params for word in param.opts}:
        yield f"With `--dry-run`: {', '.join(f'`{key}`' for key in tables.DRY_RUN)}."


def _table(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield from (f"| {title} | |", "|---|---|")
    for words, meaning in rows:
        yield f"| `{_cell(words)}` | {_cell(' '.join(meaning.split()))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _global_options(app: Any, ctx: Any) -> Iterator[str]:
    yield from ("", "## Global options", "")
    rows = next(rows for title, rows in help.sections(app, ctx) if title == help.GLOBAL)
    yield from _table("Option", rows)
    yield from ("", "## Output", "")
    yield "Results go to standard output, messages to standard error, each as `dasctl: MESSAGE` with a `hint:` below it."
    yield "On a terminal a command shows what each instance is at while it works, and then a table; elsewhere it prints"
    yield "plain aligned lines without colours. `NO_COLOR` and `TERM=dumb` are honoured. What a terminal could obey in a"
    yield "file's name is shown escaped (`\\x1b`); so are bytes that are not UTF-8."
    yield ""
    yield "`--terse` prints a row per result, its columns separated by tabs, without a heading: nothing is `-`, a flag is"
    yield "`true` or `false`, sizes are bytes, times are seconds. Tabs, newlines and backslashes in it are escaped."
    yield ""
    yield "`--json` prints one document on one line, also for errors of usage: `command`, `status` (`ok`, `unchanged`,"
    yield "`partial`, `failed`, `refused`, `different`), `exit_code`, `revision`, `seconds`, `results`, `warnings` where"
    yield "there are some, and on failure `error` with `message` and `hint`, also per result. What the results of a rolling"
    yield "change have besides is in [rolling restart](how-to/rolling-restart.md). Names that are not UTF-8 have"
    yield "each such byte as a surrogate escape (`\\udcff` is the byte 0xff), as Python's `os.fsdecode` makes them."
    yield ""
    yield "`--quiet` prints nothing where nothing has changed and nothing has failed."


def _exit_codes() -> Iterator[str]:
    yield from (MADE, "", "# Exit codes", "", "| code | meaning |", "|---|---|")
    for code in ExitCode:
        yield f"| {int(code)} | {code.meaning} |"
    yield ""
    yield "A timeout is a failure, never a success. A command that was interrupted ends with 1, and says what was done and"
    yield "what was not. A command whose reader has gone away (`| head`) ends with the code of what it did."
    yield ""
    yield "Instances that were not begun, because more had failed than `--max-failures` allows, are `skipped`: they count as"
    yield "failed. Where all that were tried could not be reached, the code is 4. `--failed` where nothing had failed is 0."
    yield ""
    yield "## `run`"
    yield ""
    yield "A command on nodes may end with what are codes of dasctl elsewhere. So `run` ends with the largest of the"
    yield "commands' codes, as `pdsh -S` does, and says nothing of its own with 1 to 7:"
    yield ""
    yield "| code | meaning |"
    yield "|---|---|"
    for words, meaning in CODES_OF_RUN:
        yield f"| {words} | {meaning} |"
    yield ""
    yield "255 is what `ssh` says, too: a node that could not be reached or refused, an instance that is not there, an"
    yield "unknown target, Ctrl-C. Only a line that is no call of `run` (an unknown option, no `--`) ends with 2. `code` of"
    yield "each result in `--json` has the code of each instance."


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in pages().items():
        file = HERE / name
        if not file.is_file() or file.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                file.write_text(text, "utf-8")
    if "--check" in arguments and stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run: python docs/make_reference.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

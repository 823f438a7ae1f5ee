"""The help page: no boxes, as wide as the terminal, in the same order for every command.

What lives here: its layout, made from what a command declares. It needs neither rich nor a terminal.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from dasctl.cli import text
from dasctl.cli.options import GLOBAL_NAMES
from dasctl.cli.palette import Palette, palette_for
from dasctl.errors import ExitCode

WIDEST = 100  # columns; longer lines are hard to read
MOST_LEFT = 26  # columns; longer words stand on a line of their own
GLOBAL = "Global options"
CODES_OF_RUN = [
    ("0", "the command ended with 0 on all instances"),
    ("1 - 254", "the largest of its exit codes; 124: ended at its time limit; 128 + N: killed by signal N"),
    ("255", "it was not run, or not to its end, on at least one instance"),
]
HELP_OPTION = "help"


def page(command: Any, ctx: Any) -> str:
    """The help of `command`, a click command, in colour where standard output takes it."""
    palette = palette_for(sys.stdout)
    columns = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST) if _is_sized() else WIDEST
    return "\n".join(_lines(command, ctx, palette, columns)).rstrip()


def _is_sized() -> bool:
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def _lines(command: Any, ctx: Any, palette: Palette, columns: int) -> Iterator[str]:
    yield palette.paint(command.get_usage(ctx), "bold")
    yield ""
    for paragraph in paragraphs(command):
        yield from _paragraph(paragraph, columns)
        yield ""
    listed = sections(command, ctx)
    left = min(max((text.width(words) for _, rows in listed for words, _ in rows), default=1), MOST_LEFT)
    for title, rows in listed:
        yield palette.paint(f"{title}:", "bold")
        yield from _definitions(rows, columns, palette, left)
        yield ""
    yield palette.paint("Exit codes:", "bold")
    codes = CODES_OF_RUN if command.name == "run" else [(str(int(code)), code.meaning) for code in ExitCode]
    yield from _definitions(codes, columns, palette, 1 if codes is not CODES_OF_RUN else 7)


def paragraphs(command: Any) -> list[str]:
    """What a command's docstring says, an example's lines as they stand."""
    help_text = inspect.cleandoc(command.help or "")
    return [textwrap.dedent(part).strip("\n") for part in help_text.split("\n\n") if part.strip()]


def is_example(paragraph: str) -> bool:
    """Whether a paragraph is to be typed, or to be put into a file, and not prose."""
    return all(line.startswith(("dasctl ", 'command="')) for line in paragraph.split("\n"))


def _paragraph(paragraph: str, columns: int) -> Iterator[str]:
    if is_example(paragraph):
        yield from textwrap.indent(paragraph, "    ").split("\n")
    else:
        yield from text.wrapped(" ".join(paragraph.split()), columns)


def sections(command: Any, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists: commands by panel, arguments, options, global options, each as (words, meaning)."""
    arguments: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    everywhere: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            arguments.append((param.metavar or str(param.name).upper(), param.help or ""))
        elif record := param.get_help_record(ctx):
            place = everywhere if param.name in GLOBAL_NAMES or param.name == HELP_OPTION else own
            place.append(record)
    return [
        (title, rows)
        for title, rows in (
            *_panels(command, ctx),
            ("Arguments", arguments),
            ("Options", own),
            (GLOBAL, everywhere),
        )
        if rows
    ]


def _panels(command: Any, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    panels: dict[str, list[tuple[str, str]]] = {}
    for name, sub in getattr(command, "commands", {}).items():
        if not sub.hidden:
            summary = paragraphs(sub)[0].rstrip(".")
            panels.setdefault(sub.rich_help_panel or "Commands", []).append((name, " ".join(summary.split())))
    return list(panels.items())


def _definitions(rows: list[tuple[str, str]], columns: int, palette: Palette, left: int) -> Iterator[str]:
    """Words on the left, meanings on the right; below each other where there is no room for two columns."""
    beside = left * 3 <= columns
    for words, meaning in rows:
        painted = palette.paint(words, "green")
        pad = " " * (4 + left)
        if not beside or text.width(words) > left:
            yield f"  {painted}"
            if meaning:
                indent = pad if beside else "      "
                yield from text.wrapped(meaning, columns, first=indent, rest=indent)
            continue
        first, *others = text.wrapped(meaning, columns, first=pad, rest=pad)
        yield f"  {painted}{' ' * (left - text.width(words))}  {first.strip()}".rstrip()
        yield from others

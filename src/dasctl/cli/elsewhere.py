"""`--das`: a command line that is not for this machine, and what becomes of its words.

What lives here: whether a line is for another machine, which words it is there, and which files it names. What must not:
connections (`adapters/das_commands.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from dasctl.cli.carried import Given, Way, carried, given_in, way_of, writes_here
from dasctl.cli.options import DAS_PROGRAM_VARIABLE, DAS_VARIABLE, GATHERED, global_params, settings_of
from dasctl.cli.palette import is_screen
from dasctl.cli.session import Session, confirmed_on_terminal
from dasctl.core.coordinates import DEFAULT_COMMAND
from dasctl.core.elsewhere import CURRENT, CarriedFile, Place
from dasctl.errors import OperationFailed, UsageError

WORDS = "dasctl.words"  # of a command line as it was typed, in the context's memory
OURS = ("das_place", "das_program", "domain")  # global options that are about where


def remember(ctx: typer.Context, words: Sequence[str]) -> None:
    """Keep the words that click is about to take apart: first those of the whole line, then those behind the command."""
    ctx.meta.setdefault(WORDS, []).append(list(words))


def place_of(ctx: typer.Context, *, local: bool, environment: Mapping[str, str] = os.environ) -> Place | None:
    """The machine on which this command line shall run; None: this one. `local`: of a command that is about this machine.

    Raises UsageError.
    """
    given: dict[str, Any] = ctx.meta.get(GATHERED, {})
    text = given.get("das_place")
    if text is not None and given.get("domain") is not None:
        raise UsageError(
            "--das and --domain contradict each other",
            hint="--das USER@HOST:DIR names the domain's folder, too",
        )
    if text is None:
        if local or given.get("domain") is not None or not environment.get(DAS_VARIABLE):
            return None
        text = environment[DAS_VARIABLE]
    program = given.get("das_program") or environment.get(DAS_PROGRAM_VARIABLE) or DEFAULT_COMMAND
    return Place.parsed(text, program)


def run(ctx: typer.Context, command: Any, place: Place, session: Session) -> int:
    """Run this context's command at `place`; returns its exit code there. Raises DasctlError."""
    settings = settings_of(ctx)
    words, files, typed = order_of(ctx, command)
    return session.elsewhere(
        place,
        words,
        files,
        typed=typed,
        timeout_s=settings.timeout_s,
        quiet=settings.quiet or settings.json,
        ask=_asker(session),
    )


def order_of(
    ctx: typer.Context, command: Any
) -> tuple[list[str | tuple[str, int]], list[CarriedFile], list[str]]:
    """The words for the other machine, of which a pair is one of the files; the files; the words that the history tells."""
    whole, own = ctx.meta[WORDS]
    before, _ = given_in(whole, global_params(), to_first=True)
    behind, _ = given_in(own, command.params)
    first = _without(whole[: len(whole) - len(own) - 1], before)
    found = carried(behind)
    files = [_file(given, number) for number, given in enumerate(found)]
    _check_force(files, behind, command)
    if writes_here(behind, command.params):
        files.append(CarriedFile(way=CURRENT, path=str(Path.cwd()), words=".", name="here"))
    replaced = {given.place: (given.prefix, number) for number, given in enumerate(found)}
    left_out = _places_of(behind)
    second: list[str | tuple[str, int]] = [
        replaced.get(at, word) for at, word in enumerate(own) if at not in left_out
    ]
    name = str(ctx.info_name)
    typed = [*first, name, *(word for at, word in enumerate(own) if at not in left_out)]
    return [*first, name, *second], files, typed


def _without(words: Sequence[str], found: Sequence[Given]) -> list[str]:
    gone = _places_of(found)
    return [word for at, word in enumerate(words) if at not in gone]


def _places_of(found: Sequence[Given]) -> set[int]:
    """Where the words stand that are only about where the command runs."""
    ours = [given for given in found if given.param.name in OURS and given.param.param_type_name == "option"]
    return {place for given in ours for place in (given.place, given.option) if place is not None}


def _file(given: Given, number: int) -> CarriedFile:
    words = given.value or ""
    path = Path(os.path.abspath(Path(words).expanduser()))  # noqa: PTH100 (links as they are)
    way = way_of(given)
    if way is Way.FILE_DOWN and path.is_dir():
        way = Way.FOLDER_DOWN
    if way is Way.FOLDER_DOWN:
        _made(path)
    return CarriedFile(way=way.value, path=str(path), words=words, name=path.name or f"file-{number}")


def _check_force(files: Sequence[CarriedFile], found: Sequence[Given], command: Any) -> None:
    """What would be refused where the file is, is not found out there, where it never is."""
    has_force = any("--force" in param.opts for param in command.params)
    if not has_force or any("--force" in given.param.opts for given in found):
        return
    for file in files:
        if file.way == Way.FILE_DOWN.value and os.path.lexists(file.path):
            raise UsageError(f"{file.words} exists already", hint="--force replaces it, or name another file")


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationFailed(f"{folder} cannot be made: {error.strerror}") from error


def _asker(session: Session) -> Any:
    """How a person is asked whether to trust a host key; None where nobody sits at a terminal."""
    if not (is_screen(session.err) and sys.stdin is not None and is_screen(sys.stdin)):
        return None
    return lambda question: confirmed_on_terminal(question, session.err)

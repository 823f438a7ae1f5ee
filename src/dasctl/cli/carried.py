"""Files of this machine that a command line names, and where they stand in it.

A parameter says so in its declaration, and then works with `--das` as it does without:

    archive: Path = typer.Argument(..., parser=FROM_HERE)       a file or a folder that the command reads
    file: Path = typer.Argument(..., parser=FROM_EITHER)        the same, or if there is none here, one of the other machine
    file: Path = typer.Option(..., "--to", parser=TO_HERE)      a file that it writes
    file: Path = typer.Option(..., parser=TO_HERE_ELSE_CURRENT) the same, or if it is not given, a file in the current folder
    folder: Path = typer.Option(..., "--to", parser=INTO_HERE)  a folder that it writes files into
    words: list[str] = typer.Argument(..., parser=LAST_TO_HERE) the last of these words is a file that it writes

What lives here: these marks, and finding the values among the words as they were typed. What must not: connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dasctl.errors import OperationFailed


class Way(Enum):
    """Which way a file travels, seen from the machine on which the command line was typed."""

    UP = "up"
    FILE_DOWN = "file"
    FOLDER_DOWN = "folder"


@dataclass(frozen=True)
class Carried:
    """What a parameter's value is: given to typer as its parser. `last`: only the last of several values is a file."""

    way: Way
    last: bool = False
    else_current: bool = (
        False  # where it is not given, the command writes into the folder in which it was called
    )
    if_here: bool = False  # where there is none on this machine, the word is about the other one
    __name__ = "path"  # click names types of values by it

    def __call__(self, value: str | Path) -> Any:
        return str(value) if self.last else Path(value)


FROM_HERE = Carried(Way.UP)
TO_HERE = Carried(Way.FILE_DOWN)
TO_HERE_ELSE_CURRENT = Carried(Way.FILE_DOWN, else_current=True)
FROM_EITHER = Carried(Way.UP, if_here=True)
INTO_HERE = Carried(Way.FOLDER_DOWN)
LAST_TO_HERE = Carried(Way.FILE_DOWN, last=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value among words: `words[place]` is `prefix` and the value, or of a flag the option alone (`value` None)."""

    param: Any
    place: int
    prefix: str = ""
    value: str | None = None
    option: int | None = None  # where the option stands whose value this is


def mark_of(param: Any) -> Carried | None:
    """The mark in a parameter's declaration."""
    found = getattr(getattr(param, "type", None), "func", None)
    return found if isinstance(found, Carried) else None


def given_in(
    words: Sequence[str], params: Sequence[Any], *, to_first: bool = False
) -> tuple[list[Given], int]:
    """Which value is which parameter's, in words that click has accepted; and how many words that are.

    `to_first`: the words end before the first that is no option: it is a command's name.
    """
    options = {
        text: param for param in params for text in (*param.opts, *param.secondary_opts) if _is_option(param)
    }
    found: list[Given] = []
    loose: list[int] = []
    at, all_loose = 0, False
    while at < len(words):
        word = words[at]
        if all_loose or not word.startswith("-") or word == "-":
            if to_first:
                break
            loose.append(at)
            at += 1
        elif word == "--":
            all_loose = True
            at += 1
        else:
            here = list(_options_in(words, at, options))
            found += here
            at = max(at, *(given.place for given in here)) + 1
    arguments = [param for param in params if not _is_option(param)]
    return found + list(_arguments(words, loose, arguments)), at


def _is_option(param: Any) -> bool:
    return bool(param.param_type_name == "option")


def _takes_value(param: Any) -> bool:
    return not (param.is_flag or param.count)


def _options_in(words: Sequence[str], at: int, options: dict[str, Any]) -> Iterator[Given]:
    """The options in `words[at]`, the last of which may have its value in the next word."""
    word = words[at]
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        param = _known(options, name)
        if equals:
            yield Given(param=param, place=at, prefix=f"{name}=", value=value, option=at)
        else:
            yield _with_next(words, at, param)
        return
    for index in range(1, len(word)):
        param = _known(options, f"-{word[index]}")
        if not _takes_value(param):
            yield Given(param=param, place=at)
        elif word[index + 1 :]:
            yield Given(param=param, place=at, prefix=word[: index + 1], value=word[index + 1 :], option=at)
            return
        else:
            yield _with_next(words, at, param)
            return


def _with_next(words: Sequence[str], at: int, param: Any) -> Given:
    if not _takes_value(param):
        return Given(param=param, place=at)
    if at + 1 >= len(words):
        raise _not_understood(words[at])
    return Given(param=param, place=at + 1, value=words[at + 1], option=at)


def _known(options: dict[str, Any], name: str) -> Any:
    if name not in options:
        raise _not_understood(name)
    return options[name]


def _not_understood(word: str) -> OperationFailed:
    return OperationFailed(
        f"{word!r} is not understood as part of a command line for another machine",
        hint="write long options, each with a space before its value",
    )


def _arguments(words: Sequence[str], loose: Sequence[int], arguments: Sequence[Any]) -> Iterator[Given]:
    """Words without options, given to arguments as click does: one of them may take all that the others leave."""
    many = next((index for index, param in enumerate(arguments) if param.nargs == -1), None)
    fixed = sum(param.nargs for param in arguments if param.nargs > 0)
    left = list(loose)
    for index, param in enumerate(arguments):
        count = max(len(loose) - fixed, 0) if index == many else param.nargs
        for place in left[:count]:
            yield Given(param=param, place=place, value=words[place])
        del left[:count]


def carried(found: Sequence[Given]) -> list[Given]:
    """Those of the values that are files, in the order in which they stand."""
    files = [given for given in found if given.value is not None and (mark_of(given.param) is not None)]
    lasts = {id(given.param): given for given in files}
    files = [each for each in files if not _mark(each).if_here or Path(str(each.value)).expanduser().exists()]
    return sorted(
        (each for each in files if not _mark(each).last or lasts[id(each.param)] is each),
        key=lambda each: each.place,
    )


def writes_here(found: Sequence[Given], params: Sequence[Any]) -> bool:
    """Whether the command writes into the current folder, since nothing was given that says where to."""
    given = {id(each.param) for each in found}
    marks = [mark_of(param) for param in params if id(param) not in given]
    return any(mark is not None and mark.else_current for mark in marks)


def way_of(given: Given) -> Way:
    return _mark(given).way


def _mark(given: Given) -> Carried:
    mark = mark_of(given.param)
    assert mark is not None
    return mark

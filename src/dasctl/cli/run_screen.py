"""What is shown of `run`: what commands said, equal answers once.

What lives here: which answers are equal, and their lines. What must not: running.

What comes from nodes is escaped, so that no terminal obeys it. Only what a single instance said goes out byte by byte, as
with ssh, where it is for a file or another program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from dasctl.cli import tables, text
from dasctl.cli.palette import is_screen
from dasctl.cli.screen import Screen
from dasctl.core.answers import LATE
from dasctl.core.outcome import Outcome, Result


def show_run(outcome: Outcome, screen: Screen) -> None:
    """What was said, in the order of the targets."""
    ran = [result for result in outcome.results if "exit" in result.fields]
    if screen.settings.quiet:
        ran = [result for result in ran if not result.good]
    if len(outcome.results) == 1:
        for result in ran:
            _show_alone(result, screen)
        return
    for members in alike(ran):
        for line in _lines(members, screen):
            screen.line(line)


def alike(results: Sequence[Result]) -> list[list[Result]]:
    """The results in groups that said the same and ended alike, the groups in the order of their first members."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        fields = result.fields
        key = (fields["out"], fields["err"], *sorted(fields["exit"].items()), fields["late"], fields["left"])
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def _show_alone(result: Result, screen: Screen) -> None:
    fields = result.fields
    _pass_on(fields["out"], screen.out)
    screen.out.flush()
    _pass_on(fields["err"], screen.err)
    if fields["late"] or "signal" in fields["exit"] or fields["left"]:
        screen.message(f"{result.instance}: {_ending(fields)}")


def _pass_on(said: str, stream: TextIO) -> None:
    """To a terminal escaped, line by line; elsewhere every byte as it is."""
    if is_screen(stream):
        stream.writelines(f"{line}\n" for line in _shown(said))
        return
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(said)
        return
    stream.flush()
    buffer.write(said.encode("utf-8", "surrogateescape"))
    buffer.flush()


def _lines(members: Sequence[Result], screen: Screen) -> Iterator[str]:
    fields = members[0].fields
    names = screen.palette.paint(text.folded(tables.name_of(result) for result in members), "bold")
    out, err = _shown(fields["out"]), _shown(fields["err"])
    number = len(out) + len(err)
    told = f"({text.count(number, 'line')})"
    if len(members) > 1:
        words = f"{names} said the same {told}" if number else f"{names} said nothing"
    else:
        words = f"{names} {told}" if number else f"{names} said nothing"
    ending = _ending(fields)
    yield (
        f"{words}, {screen.palette.paint(ending, 'red' if fields['code'] else 'yellow')}" if ending else words
    )
    for line in out:
        yield f"  {screen.palette.paint('|', 'dim')} {line}".rstrip()
    for line in err:
        yield f"  {screen.palette.paint('!', 'red')} {line}".rstrip()


def _ending(fields: Mapping[str, Any]) -> str:
    """How it ended, where there is anything to say about that."""
    words = []
    if fields["code"] == LATE and fields["late"]:
        words.append("ended at its time limit")
    elif "signal" in fields["exit"]:
        words.append(f"killed by signal {fields['exit']['signal']}")
    elif fields["code"]:
        words.append(f"exit status {fields['code']}")
    if fields["left"]:
        words.append("something goes on in the background")
    return ", ".join(words)


def _shown(said: str) -> list[str]:
    """The lines of an output as a terminal may have them; tabs are harmless. What holds a NUL is no text."""
    if not said:
        return []
    if "\0" in said:
        size = len(said.encode("utf-8", "surrogateescape"))
        return [f"(binary, {text.size(size)}: of a single instance it can be passed on to a file)"]
    return [
        "\t".join(text.plain(piece) for piece in line.split("\t"))
        for line in said.removesuffix("\n").split("\n")
    ]

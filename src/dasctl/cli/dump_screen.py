"""What is shown of `dump`: its text, with whatever a terminal could obey escaped."""

from __future__ import annotations

from dasctl.cli import tables, text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome

_COLOURS = {"=== ": "bold", "--- ": "cyan", "!!! ": "yellow"}


def show_dump(outcome: Outcome, screen: Screen) -> None:
    """One dump after the other; of an archive what is in it."""
    if "file" in outcome.data:
        good = [tables.name_of(result) for result in outcome.results if result.good]
        file = text.path_text(outcome.data["file"])
        screen.line(f"dumped {text.folded(good)} in {file} ({text.size(outcome.data['size'])})")
        for result in outcome.results:
            for warning in result.fields.get("warnings") or ():
                screen.line(f"{tables.name_of(result)}: {text.plain(str(warning))}")
        return
    from dasctl.core.dump_text import lines  # of use to one command only

    for number, result in enumerate(outcome.results):
        if number and result.good:
            screen.line()
        if result.good:
            for line in lines(str(result.instance), {**result.fields, "node": result.node}):
                screen.line(_shown(line, screen))


def _shown(line: str, screen: Screen) -> str:
    plain = "\t".join(text.plain(piece) for piece in line.split("\t"))
    colour = _COLOURS.get(line[:4])
    return screen.palette.paint(plain, colour) if colour else plain

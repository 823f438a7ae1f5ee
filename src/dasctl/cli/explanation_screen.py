"""How `explain` looks: each path, and below it what becomes of it, instances with the same answer folded.

What lives here: words and lines. What must not: the answer itself.
"""

from __future__ import annotations

from typing import Any

from dasctl.cli import tables, text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome, Result


def show_explained(outcome: Outcome, screen: Screen) -> None:
    """Print the answers, a group for each path."""
    groups: dict[str, dict[str, list[Result]]] = {}
    for result in outcome.results:
        groups.setdefault(_head(result, screen), {}).setdefault(_answer(result), []).append(result)
    for head, answers in groups.items():
        screen.line(screen.palette.paint(head, "bold"))
        for answer, results in answers.items():
            names = text.folded(result.instance for result in results if result.instance)
            screen.line(f"  {names + ': ' if names else ''}{answer}")


def _head(result: Result, screen: Screen) -> str:
    fields = result.fields
    words = [text.path_text(str(fields["path"]))]
    facts = []
    if "size" in fields:
        facts.append(text.size(fields["size"]))
    if "target" in fields:
        facts.append(f"a link to {text.path_text(str(fields['target']))}")
    if "modtime" in fields:
        facts.append(tables.as_moment(fields["modtime"], screen.now))
    if "sha256" in fields:
        facts.append(f"sha256 {fields['sha256']}")
    if facts:
        words.append(f"({', '.join(facts)})")
    return " ".join(words)


def _answer(result: Result) -> str:
    fields = result.fields
    words = result.status
    if fields.get("goes_as") not in (None, fields["path"]):
        words += f" as {text.path_text(str(fields['goes_as']))}{_origin(fields)}"
    if "pattern" in fields:
        words += f" by {_pattern(fields)}"
        if fields["matches"] not in (fields["path"], fields.get("goes_as")):
            words += f", which matches {text.path_text(str(fields['matches']))}"
    if result.note:
        words += f": {text.plain(result.note)}"
    if "keep" in fields:
        words += f"; made once, then the node's, by {_pattern(fields['keep'])}"
    return words


def _origin(fields: dict[str, Any]) -> str:
    """Whose overlay it is."""
    return f", of the {text.plain(str(fields['owner']))}" if fields.get("owner") else ""


def _pattern(rule: dict[str, Any]) -> str:
    return f"{text.plain(str(rule['pattern']))} ({rule['place']}: {text.plain(str(rule['key']))})"

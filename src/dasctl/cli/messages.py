"""Warnings and failures of an outcome, on standard error: each failed target with its message and what to do now."""

from __future__ import annotations

import re

from dasctl.cli import tables, text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome, Problem, Result

FOLD_ABOVE = 8  # messages that differ in their targets' names alone: fewer are read at a glance


def show_all(outcome: Outcome, screen: Screen) -> None:
    for warning in outcome.warnings:
        screen.message(warning, mark="warning: ", colour="yellow")
    for result in outcome.results:
        for problem in result.fields.get("problems") or ():
            words = f"{text.path_text(str(problem.get('path', '')))}: {problem.get('message', '')}"
            screen.message(words, mark=f"warning: {tables.name_of(result)}: ", colour="yellow")
    if outcome.data.get("followed"):
        return  # each failure was told when it came
    told = _show_failures(outcome, screen)
    error = outcome.error
    if error is not None and not (told and (error.message in told or _only_counts(error))):
        show_problem(error, screen)
    screen.err.flush()


def _only_counts(error: Problem) -> bool:
    """Whether a message is the mere sum of failures that were told one by one."""
    return error.message.endswith(" failed") and error.message[:1].isdigit()


def _show_failures(outcome: Outcome, screen: Screen) -> set[str]:
    """Each failed target with its message, and each hint once, below those that it is for; returns the messages told."""
    alike: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in outcome.results:
        if result.good or _is_an_answer(result):
            continue
        problem = result.error or Problem(message=result.note or result.status)
        said = alike.setdefault((_nameless(problem.message, result), problem.hint), {})
        said.setdefault(problem.message, []).append(result)
    for (_, hint), said in alike.items():
        told = list(said.items()) if len(said) <= FOLD_ABOVE else list(said.items())[:1]
        for message, results in told:
            screen.message(message, mark=_mark(message, results))
            _show_last_words(results[0], screen)
        others = [result for results in list(said.values())[len(told) :] for result in results]
        if others:
            screen.err.write(f"  the same of {len(others)} others: {_whose(others)}\n")
        screen.hint(hint)
    return {message for said in alike.values() for message in said}


def _is_an_answer(result: Result) -> bool:
    """Whether a command ran there, and failed by itself: that was shown with what it said."""
    return result.error is None and "exit" in result.fields


def _nameless(message: str, result: Result) -> str:
    """The message without its target's own names and address: what others may have said too."""
    for name in filter(None, (result.instance, result.node)):
        message = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "…", message)
    return re.sub(r"node … \([^()]*\)", "node …", message)


def _mark(message: str, results: list[Result]) -> str:
    """Whom a message is about, unless it says so itself."""
    only = results[0]
    if len(results) > 1:
        return f"{_whose(results)}: "
    if f"node {only.node}" not in message:
        return f"{_whose(results)}: "
    if only.instance is None or only.instance in message:
        return ""
    return f"{text.plain(only.instance)}: "


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

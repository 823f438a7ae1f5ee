"""`list`: the dotted names of values that are there. No node is asked, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core.domain import Domain
from dasctl.core.dotted import DottedError, Pattern, Setting, is_pattern, place_of, settings
from dasctl.core.outcome import OK, Outcome, Result
from dasctl.operations.get import missing
from dasctl.operations.ports import Context


async def list(ctx: Context, patterns: Sequence[str]) -> Outcome:
    """A row per name that a pattern names, or that stands below such a one. Exit codes as those of `get`."""
    domain = ctx.store.load()
    known = tuple(settings(domain, ctx.store.written().data))
    rows: dict[str, Result] = {}
    misses = []
    for text in patterns or ("*",):
        try:
            found = _fitting(text, domain, known)
        except DottedError as error:
            misses.append(error)
            continue
        rows |= {each.name: Result(status=OK, fields={"name": each.name}) for each in found}
        if not found:
            misses.append(DottedError(f"there is nothing below {text}", "`dasctl list '*'` shows all names"))
    return missing("list", tuple(rows.values()), misses)


def _fitting(text: str, domain: Domain, known: Sequence[Setting]) -> Sequence[Setting]:
    if is_pattern(text):
        pattern = Pattern(text)
        return [each for each in known if pattern.matches(each.path)]
    path = place_of(text, domain).path
    return [each for each in known if each.path[: len(path)] == path]

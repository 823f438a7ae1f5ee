"""`get`: values of domain.yaml by dotted names and patterns. No node is asked, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dasctl.core.decoding import path_in_file
from dasctl.core.domain import FILE, Domain
from dasctl.core.dotted import DottedError, is_pattern, name_of, place_of
from dasctl.core.faults import Path
from dasctl.core.levels import Found, found_for
from dasctl.core.outcome import FAILED, OK, PARTIAL, Outcome, Problem, Result
from dasctl.errors import ExitCode
from dasctl.operations.ports import Context, Written


async def get(
    ctx: Context, patterns: Sequence[str], *, origin: bool = False, resolved: bool = False
) -> Outcome:
    """A row per value. Exit code 1: nothing matches; 3: some patterns match nothing."""
    domain, written = ctx.store.load(), ctx.store.written()
    rows: dict[tuple[str, ...], Result] = {}
    misses: list[DottedError] = []
    for text in dict.fromkeys(patterns):
        try:
            found = found_for(domain, written.data, text, resolved=resolved)
        except DottedError as error:
            misses.append(error)
            continue
        if not found:
            misses.append(_nothing(text, domain))
        rows |= {each.path: _row(each, written if origin else None) for each in found}
    return missing("get", tuple(rows.values()), misses)


def _row(found: Found, written: Written | None) -> Result:
    fields: dict[str, Any] = {"name": name_of(found.path), "value": found.value}
    if written is not None:
        fields |= {"level": found.level, "of": found.of or None}
        fields["place"] = _where(written, found.place) if found.place is not None else None
    return Result(status=OK, fields=fields)


def _where(written: Written, path: Path) -> str:
    return f"{FILE}:{written.line(path_in_file(written.data, path))}"


def _nothing(text: str, domain: Domain) -> DottedError:
    if is_pattern(text):
        return DottedError(f"nothing matches {text!r}", "`dasctl list '*'` shows all names")
    if place_of(text, domain).hint is None:
        return DottedError(f"there is nothing below {text}", "`dasctl list '*'` shows all names")
    return DottedError(f"{text} is not set", f"`dasctl set {text}=VALUE` sets it")


def missing(command: str, rows: tuple[Result, ...], misses: Sequence[DottedError]) -> Outcome:
    """The outcome of a command that looked for names, some of which mean nothing."""
    if not misses:
        return Outcome(command=command, status=OK, exit_code=ExitCode.OK, results=rows)
    code, status = (ExitCode.PARTIAL, PARTIAL) if rows else (ExitCode.FAILED, FAILED)
    message = "\n".join(miss.message for miss in misses)
    error = Problem(
        message=message, hint=next((miss.hint for miss in misses if miss.hint), ""), exit_code=code
    )
    return Outcome(command=command, status=status, exit_code=code, results=rows, error=error)

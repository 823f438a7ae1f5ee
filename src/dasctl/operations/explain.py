"""`explain`: which pattern left a file out, or which instances get it, as which path, from where. No node is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dasctl.core import explaining
from dasctl.core.domain import Domain
from dasctl.core.exclusion import Rule
from dasctl.core.explaining import GIVEN, Explainer, Finding
from dasctl.core.faults import no_such
from dasctl.core.outcome import FAILED, OK, PARTIAL, Outcome, Problem, Result
from dasctl.errors import ExitCode, UsageError
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Context
from dasctl.remote import paths
from dasctl.remote.paths import printable


async def explain(ctx: Context, given: Sequence[str], *, here: Path) -> Outcome:
    """A row per path and instance; where the answer is the same for all instances, one without an instance.

    `here` is the folder that relative paths begin at; what is not found there is looked for below the domain's. Exit
    code 0: each path is given to some instance; 1: none is; 3: some are. Raises UsageError for one that is not there.
    """
    domain = ctx.store.load()
    explainer = Explainer(domain, ctx.repository.scan(domain, criterion=domain.domain.criterion))
    findings = {text: _findings(ctx, domain, explainer, text, here) for text in dict.fromkeys(given)}
    rows = [_row(ctx, domain, finding, text) for text, found in findings.items() for finding in found]
    nobodys = [text for text, found in findings.items() if all(each.status != GIVEN for each in found)]
    status, code = _verdict(len(nobodys), len(findings))
    error = Problem(message=f"no instance gets {', '.join(nobodys)}", exit_code=code) if nobodys else None
    return Outcome(command="explain", status=status, exit_code=code, results=tuple(rows), error=error)


def _verdict(nobodys: int, all_of_them: int) -> tuple[str, ExitCode]:
    if not nobodys:
        return OK, ExitCode.OK
    return (PARTIAL, ExitCode.PARTIAL) if nobodys < all_of_them else (FAILED, ExitCode.FAILED)


def _findings(ctx: Context, domain: Domain, explainer: Explainer, text: str, here: Path) -> list[Finding]:
    name, colon, rest = text.partition(":")
    if colon and name in domain.instances:
        return _on_instance(explainer, name, _checked(os.fsencode(rest.strip("/")), text))
    for path in _candidates(ctx.store.root, text, here):
        kind = ctx.repository.kind_of(path)
        if kind is not None:
            return explainer.of_repository(path, is_folder=kind == "d")
    if colon and "/" not in name:
        raise UsageError(f"{no_such('instance', name, domain.instances)} (in {text})")
    raise _nothing_at(text, _candidates(ctx.store.root, text, here)[0], explainer.paths())


def _on_instance(explainer: Explainer, name: str, path: bytes) -> list[Finding]:
    found = explainer.of_instance(name, path)
    if all(each.entry is None and each.rule is None and each.status != GIVEN for each in found):
        raise _nothing_at(f"{name}:{printable(path)}", path, explainer.paths())
    return found


def _candidates(root: Path, text: str, here: Path) -> list[bytes]:
    """The paths below the domain's folder that `text` may mean, without those that lead out of it."""
    found = []
    bases = dict.fromkeys((os.fsencode(root), os.path.realpath(os.fsencode(root))))
    for start in (here, root):
        whole = os.path.normpath(os.path.join(os.fsencode(start), os.fsencode(text)))  # noqa: PTH118
        found += [whole[len(base) + 1 :] for base in bases if whole.startswith(base + b"/")]
    if not found:
        raise UsageError(
            f"{text} is not in the domain's folder, {root}",
            hint="name a file of the domain, or INSTANCE:PATH for one of an instance",
        )
    return [_checked(path, text) for path in dict.fromkeys(found)]


def _checked(path: bytes, text: str) -> bytes:
    try:
        return paths.check(path)
    except paths.PathError as error:
        raise UsageError(f"{text}: {error}") from error


def _nothing_at(text: str, path: bytes, known: Sequence[bytes]) -> UsageError:
    near = [printable(other) for other in explaining.nearest_paths(path, known)]
    return UsageError(f"there is no {text}", hint=f"did you mean {' or '.join(near)}?" if near else "")


def _row(ctx: Context, domain: Domain, finding: Finding, text: str) -> Result:
    fields: dict[str, Any] = {"path": printable(finding.path)}
    if finding.goes_as:
        fields["goes_as"] = printable(finding.goes_as)
    if finding.layer:
        fields["layer"] = finding.layer
        fields["owner"] = explaining.owners(domain, finding.layer)
    if finding.rule is not None:
        fields |= {**_rule(ctx, finding.rule), "matches": printable(finding.hit)}
    if finding.kept is not None:
        fields["keep"] = _rule(ctx, finding.kept)
    if finding.entry is not None:
        fields |= _facts(finding)
    return Result(status=finding.status, instance=finding.instance, fields=fields, note=finding.why)


def _rule(ctx: Context, rule: Rule) -> dict[str, str]:
    return {"pattern": rule.written, "place": ctx.store.place(rule.place), "key": "/".join(rule.place[:-1])}


def _facts(finding: Finding) -> dict[str, Any]:
    entry = finding.entry
    assert entry is not None
    facts: dict[str, Any] = {
        "kind": entry.kind,
        "mode": f"{entry.mode:o}",
        "modtime": utc_text(entry.mtime / 1e9),
    }
    facts["modtime_ns"] = entry.mtime
    if entry.kind == "f":
        facts |= {"size": entry.size, "sha256": entry.digest.decode("ascii")}
    elif entry.kind == "l":
        facts["target"] = printable(entry.digest)
    return facts

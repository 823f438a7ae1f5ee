"""How values and changes look: lines `name=value`, and what a terminal must never see."""

from __future__ import annotations

import json
from typing import Any

from dasctl.core.outcome import Outcome, Problem, Result, summed_up
from dasctl.errors import ExitCode


def row(name: str, value: Any, status: str = "ok", **more: Any) -> Result:
    return Result(status=status, fields={"name": name, "value": value, **more})


def got(*rows: Result, **more: Any) -> Outcome:
    return Outcome(command="get", status="ok", exit_code=ExitCode.OK, results=rows, **more)


def test_values_are_lines_as_asadmin_prints_them(dasctl: Any) -> None:
    rows = (
        row("a.b", 1),
        row("a.c", True),
        row("a.d", ["x", "y"]),
        row("a.e", ""),
        row("a.f", "x\ny\x1b[31m"),
    )
    lines = ["a.b=1", "a.c=true", "a.d=x,y", "a.e=", "a.f=x\\ny\\x1b[31m"]
    for flags in ([], ["--terse"]):
        assert dasctl("get", "a", *flags, outcome=got(*rows)).out.splitlines() == lines
    document = json.loads(dasctl("get", "a", "--json", outcome=got(*rows)).out)
    assert [each["value"] for each in document["results"]] == [1, True, ["x", "y"], "", "x\ny\x1b[31m"]


def test_the_origin_stands_behind_the_value(dasctl: Any) -> None:
    rows = (
        row("a", 1, level="cluster", of="web", place="config/domain.yaml:7"),
        row("b", 2, level="default", of=None, place=None),
    )
    assert dasctl("get", "a", "--origin", outcome=got(*rows)).out.splitlines() == [
        "a=1  (cluster web, config/domain.yaml:7)",
        "b=2  (default)",
    ]
    assert dasctl("get", "a", "--origin", "--terse", outcome=got(*rows)).out.splitlines() == [
        "a=1\tcluster\tweb\tconfig/domain.yaml:7",
        "b=2\tdefault\t-\t-",
    ]


def test_what_was_not_found_is_told_beside_what_was(dasctl: Any) -> None:
    problem = Problem(message="c is not set", hint="`dasctl set c=VALUE` sets it", exit_code=ExitCode.PARTIAL)
    outcome = Outcome(
        command="get",
        status="partial",
        exit_code=ExitCode.PARTIAL,
        results=(row("a", 1),),
        error=problem,
    )
    ran = dasctl("get", "a", "c", outcome=outcome)
    assert (ran.code, ran.out) == (3, "a=1\n")
    assert ran.err == "dasctl: c is not set\n  hint: `dasctl set c=VALUE` sets it\n"


def test_changes_say_what_was_there(dasctl: Any) -> None:
    rows = [
        row("a", 1, status="set", before=2), row("b", "x", status="set", before=None),
        row("c", None, status="removed", before=["u", "v"]), row("d", None, status="removed", before={"x": 1}),
        row("e", 5, status="unchanged", before=5), row("f", None, status="unchanged", before=None),
        row("g", "x", status="set", before=[]),
    ]  # fmt: skip
    outcome = summed_up("set", rows, revision=7, notes=("no node has it yet",))
    assert dasctl("set", "a=1", outcome=outcome).out.splitlines() == [
        "a=1  (was 2)", "b=x  (new)", "c  (removed; it was u,v)", "d  (removed)", "e=5  (unchanged)",
        "f  (unchanged: it was not set)", "g=x  (was empty)", "revision 7", "no node has it yet",
    ]  # fmt: skip
    terse = dasctl("set", "a=1", "--terse", outcome=outcome).out.splitlines()
    assert terse == ["a=1", "b=x", "c", "d", "e=5", "f", "g=x"]
    unchanged = summed_up("set", rows[4:5])
    assert dasctl("set", "e=5", outcome=unchanged).out == "e=5  (unchanged)\n"
    assert dasctl("set", "e=5", "--quiet", outcome=unchanged).out == ""


def test_a_dry_run_prints_the_diff(dasctl: Any) -> None:
    diff = "--- a/config/domain.yaml\n+++ b/config/domain.yaml\n@@ -1 +1 @@\n-a: 1\n+a: 2\n"
    outcome = summed_up("set", [row("a", 2, status="set", before=1)], data={"dry_run": True, "diff": diff})
    assert dasctl("set", "a=2", "--dry-run", outcome=outcome).out == diff + "dry run: nothing was touched\n"
    assert dasctl("set", "a=2", "--dry-run", "--terse", outcome=outcome).out == diff
    assert json.loads(dasctl("set", "a=2", "--dry-run", "--json", outcome=outcome).out)["diff"] == diff

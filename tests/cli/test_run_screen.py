"""What `run` shows: equal answers once, the output of a single instance as it came, nothing that a terminal obeys."""

from __future__ import annotations

import io
from typing import Any

from tests.cli.conftest import Dasctl

from dasctl.cli.main import run
from dasctl.core.outcome import FAILED, OK, Outcome, Problem, Result


def answer(name: str, out: str = "", *, code: int = 0, err: str = "", **further: Any) -> Result:
    fields = {
        "exit": {"status": code}, "code": code, "out": out, "err": err, "more": 0, "seconds": 0.1, "late": False,
        "left": False, **further,
    }  # fmt: skip
    return Result(status=FAILED if code else OK, instance=name, node="n1", fields=fields)


def outcome(*results: Result, code: int = 0) -> Outcome:
    return Outcome(command="run", status=OK, exit_code=code, results=results)


def test_twelve_that_said_the_same_are_shown_once_and_the_odd_ones_by_themselves(dasctl: Dasctl) -> None:
    rows = [answer(f"web{number}", "up\nwell\n") for number in range(1, 13)]
    rows[3] = answer("web4", "down\n", code=9, err="help\n")
    rows[8] = answer("web9")
    ran = dasctl("run", "web", "--", "x", outcome=outcome(*rows, code=9))
    assert ran.code == 9
    assert ran.out.splitlines() == [
        "web[1-3,5-8,10-12] said the same (2 lines)",
        "  | up",
        "  | well",
        "web4 (2 lines), exit status 9",
        "  | down",
        "  ! help",
        "web9 said nothing",
    ]
    assert ran.err == ""


def test_an_answer_without_its_last_newline_is_a_line(dasctl: Dasctl) -> None:
    ran = dasctl("run", "web", "--", "x", outcome=outcome(answer("a", "one\n\ntwo"), answer("b", "\n")))
    assert ran.out.splitlines() == ["a (3 lines)", "  | one", "  |", "  | two", "b (1 line)", "  |"]


def test_late_and_left_behind_is_told_also_of_a_single_instance(dasctl: Dasctl) -> None:
    row = answer("a", "x\n", code=124, exit={"signal": 15}, late=True, left=True)
    ran = dasctl("run", "a", "--", "x", outcome=outcome(row, code=124))
    assert (ran.code, ran.out) == (124, "x\n")
    assert ran.err == "dasctl: a: ended at its time limit, something goes on in the background\n"


def test_a_terminal_gets_the_output_of_a_single_instance_escaped(dasctl: Dasctl) -> None:
    row = answer("a", "\033[2J\tx\udcff\rback\n", err="\033]0;t\007")
    ran = dasctl("run", "a", "--", "x", outcome=outcome(row), terminal=True)
    assert ran.out == "\\x1b[2J\tx\\xff\\rback\n"
    assert ran.err == "\\x1b]0;t\\x07\n"


def test_a_file_gets_the_output_of_a_single_instance_as_it_is() -> None:
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    row = answer("a", "\0\033\udcff\r\n", err="\udcfe")
    code = run(
        ["run", "a", "--", "x"], out=out, err=err, runner=lambda call, settings, *, on_event: outcome(row)
    )
    assert code == 0
    assert out.buffer.getvalue() == b"\0\033\xff\r\n"  # type: ignore[attr-defined]
    assert err.buffer.getvalue() == b"\xfe"  # type: ignore[attr-defined]


def test_what_was_not_run_is_told_beside_what_was(dasctl: Dasctl) -> None:
    away = Result(status="unreachable", instance="b", node="n2", error=Problem(message="node n2: gone"))
    ran = dasctl("run", "a,b", "--", "x", outcome=outcome(answer("a", "x\n", code=4), away, code=255))
    assert ran.out.splitlines() == ["a (1 line), exit status 4", "  | x"]
    assert ran.err == "dasctl: b: node n2: gone\n"


def test_where_nothing_was_run_the_code_is_that_of_ssh(dasctl: Dasctl) -> None:
    failed = Outcome(command="run", status=FAILED, exit_code=2, error=Problem(message="no domain here"))
    assert dasctl("run", "web", "--", "x", outcome=failed).code == 255
    assert dasctl("list-clusters", outcome=failed).code == 2


def test_a_command_of_its_own_keeps_what_looks_like_ours(dasctl: Dasctl) -> None:
    ran = dasctl("--json", "run", "web", "--", "find", ".", "--json", "--", "-name", "a b")
    assert ran.call.arguments["command"] == "find . --json -- -name 'a b'"
    assert ran.settings.json

"""How results add up: the status and the exit code of a command, its one error, its JSON."""

import pytest

from dasctl.core.outcome import Problem, Result, failed, status_of_error, summed_up
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    DomainLocked,
    ExitCode,
    GuardRefused,
    HistoryError,
    InvalidDomain,
    LinkLost,
    NodeNotUsable,
    NodeTimeout,
    NodeUnreachable,
    OperationFailed,
    ProtocolError,
    RepositoryError,
    UnknownHostKey,
    UsageError,
)

SUMS = [
    # what, statuses of the results, status, exit code
    ("nothing to act on", [], "unchanged", 0),
    ("nothing to do", ["unchanged", "unchanged"], "unchanged", 0),
    ("all done", ["synchronised", "synchronised"], "ok", 0),
    ("some done, for the others nothing to do", ["unchanged", "synchronised"], "ok", 0),
    ("one failed", ["failed"], "failed", 1),
    ("all failed", ["failed", "failed"], "failed", 1),
    ("some failed", ["synchronised", "failed"], "partial", 3),
    ("nothing to do, but one failed", ["unchanged", "failed"], "partial", 3),
    ("some away", ["synchronised", "unreachable"], "partial", 3),
    ("some refused", ["synchronised", "refused"], "partial", 3),
    ("all away", ["unreachable", "unreachable"], "failed", 4),
    ("some away, the others not begun", ["unreachable", "skipped"], "failed", 4),
    ("none was begun: nobody was away", ["skipped", "skipped"], "failed", 1),
    ("away and failed: a timeout is a failure", ["unreachable", "failed"], "failed", 1),
    ("all refused", ["refused", "refused"], "refused", 6),
    ("refused and away: the refusal is the answer", ["unreachable", "refused"], "refused", 6),
    ("refused and failed", ["failed", "refused"], "refused", 6),
]


def rows(statuses):
    return [
        Result(status=status, instance=f"web{i}", node=f"n{i}", error=problem(status, i))
        for i, status in enumerate(statuses, 1)
    ]


def problem(status, number):
    if status not in ("failed", "refused", "unreachable"):
        return None
    return Problem(message=f"{status} {number}", hint=f"look {number}")


@pytest.mark.parametrize(("statuses", "status", "code"), [s[1:] for s in SUMS], ids=[s[0] for s in SUMS])
def test_results_add_up(statuses, status, code):
    outcome = summed_up("sync-domain", rows(statuses))
    assert (outcome.status, outcome.exit_code) == (status, code)
    assert outcome.as_json()["exit_code"] == code
    assert (outcome.error is None) == (code == 0)


def test_what_ran_says_itself_whether_it_changed_anything():
    assert summed_up("list-instances", rows(["ok"]), changed=True).status == "ok"
    assert summed_up("start-cluster", rows(["ok"]), changed=False).status == "unchanged"
    assert summed_up("list-instances", [], changed=True).status == "ok"


def test_a_failure_is_never_unchanged():
    assert summed_up("sync-domain", rows(["failed"]), changed=False).status == "failed"


def test_one_failure_is_the_error_of_the_command():
    outcome = summed_up("sync-domain", rows(["synchronised", "failed"]))
    assert outcome.error == Problem(message="failed 2", hint="look 2", exit_code=ExitCode.PARTIAL)


def test_several_are_counted():
    outcome = summed_up("sync-domain", rows(["failed", "synchronised", "failed"]))
    assert outcome.error == Problem(message="2 of 3 failed", hint="look 1", exit_code=ExitCode.PARTIAL)


def test_a_failure_without_words_still_counts():
    outcome = summed_up("sync-domain", [Result(status="failed", node="n1")])
    assert (outcome.exit_code, outcome.error.message) == (1, "1 of 1 failed")


def test_a_good_status_with_an_error_is_a_failure():
    assert not Result(status="ok", error=Problem(message="x")).good
    outcome = summed_up("start-cluster", [Result(status="started", error=Problem(message="x"))])
    assert outcome.exit_code == 1


def test_an_unreachable_node_counts_as_such_whatever_its_row_says():
    """`list-clusters` names the state of the cluster, and why it could not be asked."""
    away = Problem(message="no answer", exit_code=ExitCode.UNREACHABLE)
    assert summed_up("list-clusters", [Result(status="failed", error=away)]).exit_code == 4


ERRORS = [
    (NodeUnreachable("x"), "unreachable"),
    (NodeTimeout("x"), "unreachable"),
    (LinkLost("x"), "unreachable"),
    (AuthenticationFailed("x"), "unreachable"),
    (UnknownHostKey("x", fingerprint="SHA256:x"), "unreachable"),
    (ChangedHostKey("x"), "unreachable"),
    (GuardRefused("x"), "refused"),
    (NodeNotUsable("x"), "failed"),
    (ProtocolError("x"), "failed"),
    (OperationFailed("x"), "failed"),
    (RepositoryError("x"), "failed"),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=[type(e[0]).__name__ for e in ERRORS])
def test_errors_have_a_status(error, status):
    assert status_of_error(error) == status


ENDS = [
    (UsageError("x"), "failed", 2),
    (InvalidDomain("x", faults=("y",)), "failed", 2),
    (DomainLocked("x"), "failed", 5),
    (GuardRefused("x"), "refused", 6),
    (NodeUnreachable("x"), "failed", 4),
    (HistoryError("x"), "failed", 1),
    (OperationFailed("x"), "failed", 1),
]


@pytest.mark.parametrize(("error", "status", "code"), ENDS, ids=[type(e[0]).__name__ for e in ENDS])
def test_a_command_that_ended_early(error, status, code):
    outcome = failed("sync-domain", error)
    assert (outcome.status, outcome.exit_code, outcome.results) == (status, code, ())
    assert outcome.error.message.startswith("x")


def test_json_of_a_success():
    row = Result(status="synchronised", instance="web1", node="n1", fields={"revision": 3}, note="first time")
    outcome = summed_up("sync-domain", [row], revision=3, warnings=("odd",), data={"epoch": 2}).timed(1.23456)
    assert outcome.as_json() == {
        "command": "sync-domain", "status": "ok", "exit_code": 0, "revision": 3, "seconds": 1.235,
        "results": [
            {"instance": "web1", "node": "n1", "status": "synchronised", "revision": 3, "note": "first time"}
        ],
        "warnings": ["odd"], "epoch": 2,
    }  # fmt: skip


def test_json_of_a_failure():
    row = Result(status="failed", node="n1", error=Problem(message="no space", hint="make some"))
    assert summed_up("sync-domain", [row]).as_json() == {
        "command": "sync-domain", "status": "failed", "exit_code": 1, "revision": None, "seconds": 0.0,
        "results": [{"node": "n1", "status": "failed", "error": {"message": "no space", "hint": "make some"}}],
        "error": {"message": "no space", "hint": "make some"},
    }  # fmt: skip

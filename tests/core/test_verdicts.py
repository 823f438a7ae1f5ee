"""What helpers say: read with suspicion, and turned into words that say what to do now."""

import pytest

from dasctl.core.stamps import Standing
from dasctl.core.verdicts import Verdict, failure, read_all, read_at, refusal, unknown_revision
from dasctl.errors import ProtocolError

AT = {
    "domain": "d", "epoch": 1, "config_id": 7, "revision": 9, "digest": "ab", "who": "alice", "host": "das2",
    "when": 1767323045.0, "command": "sync-cluster web",
}  # fmt: skip
STORY = "revision 9 (made by alice on das2 at 2026-01-02 03:04:05Z with 'sync-cluster web')"


def verdict(word="refused", at=AT, **more):
    return Verdict(name="web1", verdict=word, at=read_at(at), more=more)


def test_good_rows():
    rows = [
        {"name": "web1", "verdict": "done", "changed": 3},
        {"name": "web2", "verdict": "stands", "at": AT, "parts": [["lib", "aa"], ["docroot", "bb"]]},
    ]
    first, second = read_all({"instances": rows}, ["web1", "web2"], "n1")
    assert (first.name, first.verdict, first.at, first.parts) == ("web1", "done", None, {})
    assert first.more["changed"] == 3
    assert second.at.standing == Standing(revision=9, digest="ab")
    assert second.parts == {"lib": "aa", "docroot": "bb"}


GOOD = {"name": "web1", "verdict": "done"}
MALFORMED = [
    ("no rows", {}),
    ("rows that are no list", {"instances": "web1"}),
    ("rows that are null", {"instances": None}),
    ("too few", {"instances": []}),
    ("too many", {"instances": [GOOD, GOOD]}),
    ("of another", {"instances": [{"name": "web2", "verdict": "done"}]}),
    ("a row that is no object", {"instances": ["web1"]}),
    ("a name that is no text", {"instances": [{"name": ["web1"], "verdict": "done"}]}),
    ("no verdict", {"instances": [{"name": "web1"}]}),
    ("an unknown verdict", {"instances": [{"name": "web1", "verdict": "maybe"}]}),
    ("a verdict that is no text", {"instances": [{"name": "web1", "verdict": ["done"]}]}),
    ("a place without a revision", {"instances": [{**GOOD, "at": {"domain": "d", "epoch": 1}}]}),
    ("a place that is no object", {"instances": [{**GOOD, "at": 7}]}),
    ("a revision that is no number", {"instances": [{**GOOD, "at": {**AT, "revision": "new"}}]}),
    ("a time that is none", {"instances": [{**GOOD, "at": {**AT, "when": "noon"}}]}),
    ("a count that is no number", {"instances": [{**GOOD, "changed": "x"}]}),
    ("a count without end", {"instances": [{**GOOD, "deleted": float("inf")}]}),
    ("deviations that are none", {"instances": [{**GOOD, "deviations": [{"path": 5}]}]}),
    ("problems that are no objects", {"instances": [{**GOOD, "problems": [[1]]}]}),
    ("changes that are no list", {"instances": [{**GOOD, "changes": {"a": 1}}]}),
    ("a number that nobody can count to", {"instances": [{**GOOD, "at": {**AT, "revision": float("inf")}}]}),
]  # fmt: skip


@pytest.mark.parametrize("header", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_rows(header):
    with pytest.raises(ProtocolError, match="node n1"):
        read_all(header, ["web1"], "n1")


def test_nobody_is_there():
    assert read_at(None) is None


def test_a_place_tells_its_story():
    assert read_at(AT).story == STORY


def test_a_story_without_a_command():
    assert read_at({**AT, "command": ""}).story == STORY.replace(" with 'sync-cluster web'", "")


@pytest.mark.parametrize("when", [1e300, -1e300, float("nan"), 1e15])
def test_a_time_that_no_calendar_has_is_told_somehow(when):
    assert "revision 9" in read_at({**AT, "when": when}).story


REASONS = [
    ("another domain", "--nodedir"),
    ("fenced", "take-over"),
    ("membership", "synchronise first"),
    ("newer format", "newer dasctl"),
    ("something new", ""),
]


@pytest.mark.parametrize(("reason", "hint"), REASONS)
def test_refusals(reason, hint):
    error = refusal(verdict(reason=reason, message="because"), "n1")
    assert error.message == f"node n1 refused for web1: because; it stands at {STORY}"
    assert hint in error.hint
    assert error.exit_code == 6


def test_a_refusal_without_words_or_place():
    assert refusal(verdict(at=None, reason="fenced"), "n1").message == "node n1 refused for web1: fenced"


def test_an_unknown_revision():
    error = unknown_revision(verdict("stands"), "n1")
    assert error.message.startswith(
        f"web1 on node n1 stands at {STORY}, which this copy of the domain does not know"
    )
    assert "take-over" in error.hint
    assert error.exit_code == 6


def test_a_failure_shows_the_last_lines_and_the_command():
    error = failure(
        verdict("failed", message="it ended with status 1", log=["one", "two"], by_hand="cd x && ./serve", hint="look"),
        "n1",
    )  # fmt: skip
    assert error.message == (
        "web1 on node n1: it ended with status 1\nlast lines of its log:\n  | one\n  | two"
    )
    assert error.hint == "to see it by hand on n1: cd x && ./serve\nlook"


def test_a_failure_without_words():
    error = failure(verdict("failed"), "n1")
    assert (error.message, error.hint) == ("web1 on node n1: failed", "")

"""Rolling changes as values: batches, the machine interrupted after every transition, and the way of each instance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dasctl.core.domain import Config
from dasctl.core.rolling import Rolling
from dasctl.core.rollout import (
    ENDED,
    TRANSITIONS,
    Begin,
    BringBack,
    Finished,
    Member,
    Ordered,
    Rollout,
    State,
    Stopped,
    decoded,
)
from dasctl.core.ways import Way, touches, way_of
from dasctl.errors import FormatTooNew, OperationFailed

SIX = ("web1", "web2", "web3", "web4", "web5", "web6")


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [
        (None, [1, 1, 1, 1, 1, 1]),
        ("2", [2, 2, 2]),
        ("4", [4, 2]),
        ("99", [6]),
        ("50%", [3, 3]),
        ("34%", [2, 2, 2]),
        ("1%", [1, 1, 1, 1, 1, 1]),
        ("100%", [6]),
    ],
)
def test_batches_keep_the_order_and_their_size(batch, sizes):
    batches = Rolling(batch=batch).batches(SIX)
    assert [len(names) for names in batches] == sizes
    assert [name for names in batches for name in names] == list(SIX)


def test_nobody_makes_no_batch():
    assert Rolling(batch="10%").batches(()) == ()


@pytest.mark.parametrize("batch", ["0", "0%", "101%", "-1", "two", "1.5", "", "%"])
def test_a_size_that_is_none(batch):
    with pytest.raises(ValueError, match="not the size of a batch"):
        Rolling(batch=batch).size(10)


def test_no_failure_is_put_up_with_unless_it_is_said():
    assert Rolling().tolerance.exceeded(1, 100)
    assert not Rolling(max_failures="10%").tolerance.exceeded(1, 10)


# The machine: how far it has come, and what is next.

BEFORE, NOW = 3, 4


def rollout(
    *names: str, batch: str = "1", max_failures: str | None = None, auto_rollback: bool = False
) -> Rollout:
    return Rollout(
        command="restart-cluster", line="restart-cluster web --rolling", who="anna", host="das", when=1.5,
        rolling=Rolling(batch=batch, max_failures=max_failures, auto_rollback=auto_rollback),
        ordered=Ordered(restart="always", only=("lib",)), revision=NOW, digest="d",
        members=tuple(Member(name=name, before=BEFORE) for name in names or SIX),
    )  # fmt: skip


WAY = (
    State.DRAINING, State.STOPPING, State.SYNCHRONISING, State.STARTING, State.READY, State.UNDRAINING, State.DONE,
)  # fmt: skip


def through(change: Rollout, name: str, way=WAY) -> Rollout:
    for state in way:
        change = change.moved(name, state, ran=True, drained=state not in (State.WAITING, State.DONE))
    return change


def test_batch_by_batch_to_the_end():
    change, batches = rollout(batch="4"), []
    while isinstance(decision := change.next(), Begin):
        batches.append((decision.number, decision.of, decision.names))
        change = change.with_batch()
        for name in decision.names:
            change = through(change, name)
    assert batches == [(1, 2, SIX[:4]), (2, 2, SIX[4:])]
    assert change.next() == Finished()


@pytest.mark.parametrize(
    ("max_failures", "failures", "goes_on"),
    [
        (None, 1, False),
        ("1", 1, True),
        ("1", 2, False),
        ("33%", 1, True),
        ("33%", 2, False),
        ("100%", 6, True),
    ],
)
def test_it_stops_at_the_first_failure_beyond_the_limit(max_failures, failures, goes_on):
    change = rollout(max_failures=max_failures)
    for name in SIX[:failures]:
        change = change.moved(name, State.FAILED, message="x")
    decision = change.next()
    assert isinstance(decision, Begin | Finished) == goes_on
    if not goes_on:
        assert decision == Stopped(failed=SIX[:failures])


def test_what_was_changed_is_brought_back_the_last_first():
    change = rollout(auto_rollback=True)
    for name in SIX[:2]:
        change = through(change, name)
    change = through(change, "web3", (State.DRAINING, State.STOPPING, State.SYNCHRONISING, State.FAILED))
    assert change.next() == BringBack(names=("web3", "web2", "web1"))
    back = change.backwards(("web3", "web2", "web1"), 5, "e")
    assert back.next() == Begin(names=("web3",), number=1, of=3)
    assert (back.of("web3").ran, back.of("web3").drained, back.revision) == (True, True, 5)
    assert back.moved("web3", State.FAILED).next() == Begin(names=("web2",), number=1, of=2)


def test_who_was_not_begun_or_had_no_other_revision_is_not_brought_back():
    change = rollout(auto_rollback=True).moved("web1", State.FAILED)  # it could not be reached
    assert change.next() == Stopped(failed=("web1",))
    same = replace(rollout(auto_rollback=True), revision=BEFORE)
    assert through(same, "web1", (State.STOPPING, State.FAILED)).next() == Stopped(failed=("web1",))


@pytest.mark.parametrize("cut", range(len(WAY)))
def test_a_kill_after_any_transition_is_no_end(cut):
    """What was written down last is read again, and every instance comes to its end; who was done is not begun twice."""
    change = through(rollout("web1", "web2", "web3"), "web1")
    change = through(change.with_batch().with_batch(), "web2", WAY[: cut + 1])
    change = decoded(change.encoded()).resumed()
    begun = []
    while isinstance(decision := change.next(), Begin):
        begun += decision.names
        if change.of("web2").state is State.WAITING:
            assert change.of("web2").ran  # a server that was stopped is started again
            assert change.of("web2").drained  # and one that was drained is put back
        change = change.with_batch()
        for name in decision.names:
            change = through(change, name)
    done = WAY[cut] is State.DONE
    assert begun == (["web3"] if done else ["web2", "web3"])
    assert change.next() == Finished()
    assert change.out == ()


@pytest.mark.parametrize("cut", range(len(WAY)))
def test_the_way_back_is_resumed_as_such(cut):
    change = through(
        through(rollout("web1", "web2", auto_rollback=True), "web1"), "web2", (State.STOPPING, State.FAILED)
    )
    returning = decoded(replace(change, returning=True).encoded()).resumed()
    assert returning.next() == BringBack(names=("web2", "web1"))
    back = through(change.backwards(("web2", "web1"), 5, "e"), "web2", WAY[: cut + 1])
    kept = decoded(replace(returning, back=back).encoded()).resumed()
    assert kept.of("web2").state is State.FAILED
    assert kept.back is not None
    begin = kept.back.next()
    assert isinstance(begin, Begin)
    assert begin.names == (("web1",) if WAY[cut] is State.DONE else ("web2",))


def test_the_table_has_no_state_without_a_way_to_an_end():
    for state in State:
        reached, left = {state}, [state]
        while left:
            for following in TRANSITIONS[left.pop()] - reached:
                reached.add(following)
                left.append(following)
        assert reached & ENDED, state


def test_a_transition_that_is_not_in_the_table_is_a_fault():
    with pytest.raises(ValueError, match="web1: from waiting to ready"):
        rollout().moved("web1", State.READY)


def test_what_takes_the_place_of_another_knows_what_that_left_half_done():
    left = through(through(rollout(), "web1"), "web2", (State.DRAINING, State.STOPPING))
    anew = rollout().inherited(left)
    assert [(m.name, m.ran, m.drained) for m in anew.members[:3]] == [
        ("web1", None, False),
        ("web2", True, True),
        ("web3", None, False),
    ]


def test_any_name_and_any_message_are_kept():
    change = rollout("web1").moved("web1", State.FAILED, message="lib/\udcff: changed ☃\n\0")
    change = replace(change, line="deploy '\udce4.war' --rolling")
    assert decoded(change.encoded()) == change
    assert change.encoded().isascii()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"3",
        b'{"format": "1"}',
        b'{"format": 1}',
        b"\xff",
        b'{"format": 1, "members": 3}',
    ],
)
def test_what_is_damaged_is_told(data):
    with pytest.raises(OperationFailed, match="cannot be read"):
        decoded(data)


def test_what_a_newer_dasctl_wrote_is_refused_by_name():
    with pytest.raises(FormatTooNew):
        decoded(rollout().encoded().replace(b'"format": 1', b'"format": 2'))


# Which way an instance goes.

NEEDED, ALWAYS, RESTART = Ordered(), Ordered(restart="always"), Ordered(restart="always", starts=True)


@pytest.mark.parametrize(
    ("case", "ordered", "known", "way"),
    [
        ("nothing asks for a restart", NEEDED, {}, Way.IN_PLACE),
        ("files change that it must not see changing", NEEDED, {"touched": True}, Way.RESTART),
        ("a restart was due before", NEEDED, {"outdated": True}, Way.RESTART),
        ("all that runs", ALWAYS, {}, Way.RESTART),
        ("it does not run", NEEDED, {"state": "not running", "touched": True}, Way.FILES),
        ("it does not run", ALWAYS, {"state": "failed"}, Way.FILES),
        ("it does not run, and restart starts", RESTART, {"state": "not running"}, Way.START),
        (
            "it was stopped by us, and then we were killed",
            NEEDED,
            {"state": "not running", "ran": True},
            Way.START,
        ),
        ("it did not run when we were killed", NEEDED, {"state": "not running", "ran": False}, Way.FILES),
        ("it was started by us, and is not ready", NEEDED, {"state": "starting", "ran": True}, Way.RESTART),
        ("somebody else starts it", NEEDED, {"state": "starting"}, Way.IN_PLACE),
        ("it was restarted by us already", NEEDED, {"ran": True}, Way.IN_PLACE),
    ],
)
def test_the_way_of_an_instance(case, ordered, known, way):
    asked = {"state": "running", "ran": None, "outdated": False, "touched": False, **known}
    assert way_of(ordered, **asked) is way, case


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"path": "lib/a.jar", "why": "content"}, True),
        ({"path": "lib/a.jar", "why": "deleted"}, True),
        ({"path": "lib/a.jar", "why": "modtime"}, False),
        ({"path": "lib/a.jar", "why": "mode"}, False),
        ({"path": "docroot/a.html", "why": "content"}, False),
        ({"path": "lib/\udcff.jar", "why": "new"}, True),
        ({"path": "config/domain.yaml", "why": "content"}, False),
    ],
)
def test_which_changes_a_running_server_must_not_see(change, touched):
    config = Config(start="x", restart_on=["lib/**", "config/**"])
    assert touches(config, [{"path": "docroot/x", "why": "new"}, change]) is touched


def test_changes_that_are_not_named_may_be_any():
    assert touches(Config(start="x"), [], unnamed=1)

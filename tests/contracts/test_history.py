"""One suite for both histories; below it, what only a database on a disk can get wrong."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from dasctl.adapters.history import FORMAT, SqliteHistory
from dasctl.adapters.memory_history import MemoryHistory
from dasctl.core.failures import Failure, News
from dasctl.core.stamps import Acknowledged, Revision, Standing
from dasctl.core.telling import Told
from dasctl.errors import FormatTooNew, HistoryError
from dasctl.remote.manifest import digest_of

REVISION = Revision(
    number=0, epoch=1, config_id=2**32 - 1, who="anna", host="das", when=1700000000.123, command="sync-cluster web",
    summary="files edited in place", state="ab" * 32,
)  # fmt: skip


def part(text: str) -> dict[str, bytes]:
    data = text.encode() * 100
    return {digest_of(data): data}


def only(parts: dict[str, bytes]) -> str:
    (digest,) = parts
    return digest


def ack(revision: Revision, **parts: str) -> Acknowledged:
    return Acknowledged(standing=revision.standing, parts=tuple(parts.items()), when=5.25)


@pytest.fixture(params=["sqlite", "memory"])
def open_history(request, tmp_path):
    """A function that makes an empty history."""
    made = []

    def make(**options):
        if request.param == "memory":
            return MemoryHistory(**options)
        made.append(SqliteHistory(tmp_path, **options))
        return made[-1]

    yield make
    for history in made:
        history.close()


@pytest.fixture
def history(open_history):
    return open_history()


def test_an_empty_history_has_no_answers(history):
    assert history.head() is None
    assert history.revisions() == []
    assert history.epoch() == 1
    assert history.find(Standing(revision=1, digest="ab")) is None
    assert history.acknowledged(["web1"]) == {}
    assert history.part("ab" * 32) is None
    assert history.verify() == 0


def test_revisions_are_numbered_and_chained(history):
    first = history.record(REVISION, {})
    second = history.record(replace(REVISION, summary="again"), {})
    assert (first.number, second.number) == (1, 2)
    assert first.digest == replace(REVISION, number=1).sealed("").digest
    assert second.digest == replace(REVISION, number=2, summary="again").sealed(first.digest).digest
    assert history.head() == second
    assert history.revisions() == [second, first]
    assert history.revisions(limit=1) == [second]
    assert history.verify() == 2


def test_the_number_is_the_historys_to_give(history):
    assert history.record(replace(REVISION, number=17), {}).number == 1


def test_a_moment_given_as_a_whole_number_keeps_the_chain_whole(history):
    history.record(replace(REVISION, when=5), {})
    assert history.head().when == 5.0
    assert history.verify() == 1


def test_what_is_foreseen_is_what_is_recorded_then(history):
    for number, numbered in [(1, None), (2, None), (7, 7)]:
        if numbered is not None:
            history.restart_at(numbered)
        revision = replace(REVISION, when=1_700_000_000 + number)
        foreseen = history.foreseen(revision)
        assert history.foreseen(revision) == foreseen
        assert history.head() is None or history.head().number < number
        assert history.record(revision, {}) == foreseen
        assert foreseen.number == number


@pytest.mark.parametrize(
    "text", ["j\udcffrg \udc80", "日本", "two\nlines", "", "'; DROP TABLE revisions; --"]
)
def test_texts_come_back_as_they_were(history, text):
    made = history.record(replace(REVISION, who=text, host=text, command=text, summary=text), {})
    assert history.head() == made
    assert history.verify() == 1


def test_a_standing_is_found_only_as_a_whole(history):
    first, second = history.record(REVISION, {}), history.record(REVISION, {})
    assert history.find(first.standing) == first
    assert history.find(Standing(revision=1, digest=second.digest)) is None
    assert history.find(Standing(revision=2, digest=first.digest)) is None


@pytest.mark.parametrize("number", [0, -1, 2**63, 2**200])
def test_a_standing_that_cannot_be_is_not_found(history, number):
    history.record(REVISION, {})
    assert history.find(Standing(revision=number, digest="ab\udcff")) is None


def test_parts_come_back(history):
    parts = part("a") | part("b") | {digest_of(b""): b""}
    history.record(REVISION, parts)
    assert {digest: history.part(digest) for digest in parts} == parts


def test_old_parts_go_and_the_chain_stays(open_history):
    history = open_history(kept=2)
    parts = [part(text) for text in "abcd"]
    for each in parts:
        history.record(REVISION, each)
    assert [history.part(only(each)) is not None for each in parts] == [False, False, True, True]
    assert history.verify() == 4


def test_a_part_of_several_revisions_goes_with_the_last(open_history):
    history = open_history(kept=2)
    for text in ("a", "a", "b"):
        history.record(REVISION, part(text))
    assert history.part(only(part("a"))) is not None
    history.record(REVISION, part("c"))
    assert history.part(only(part("a"))) is None


def test_the_last_revisions_are_counted_not_numbered(open_history):
    history = open_history(kept=2)
    history.record(REVISION, part("a"))
    history.restart_at(100)
    history.record(REVISION, part("b"))
    assert history.part(only(part("a"))) is not None


def test_what_instances_confirmed_is_kept(open_history):
    history = open_history(kept=1)
    first = history.record(REVISION, part("a"))
    confirmed = {"web1": ack(first, config=only(part("x")), docroot=only(part("a")))}
    history.acknowledge(confirmed, part("x") | part("a"))
    history.record(REVISION, part("b"))
    assert history.acknowledged(["web1", "web2"]) == confirmed
    assert history.part(only(part("a"))) is not None
    assert history.part(only(part("x"))) is not None


def test_parts_are_listed_in_their_order(history):
    first = history.record(REVISION, {})
    parts = tuple((name, name * 10) for name in ("z", "a", "m", "b"))
    confirmed = {"web1": Acknowledged(standing=first.standing, parts=parts, when=1.0)}
    history.acknowledge(confirmed, {})
    assert history.acknowledged(["web1"]) == confirmed


def test_confirming_again_replaces_and_lets_go(open_history):
    history = open_history(kept=1)
    first = history.record(REVISION, {})
    history.acknowledge({"web1": ack(first, config=only(part("x")))}, part("x"))
    second = history.record(REVISION, {})
    history.acknowledge({"web1": ack(second, config=only(part("y")))}, part("y"))
    assert history.acknowledged(["web1"])["web1"].standing == second.standing
    assert history.part(only(part("x"))) is None
    assert history.part(only(part("y"))) is not None


def test_confirming_nothing_is_nothing(history):
    history.acknowledge({}, {})
    assert history.head() is None


def test_a_forgotten_instance_is_unknown(history):
    first = history.record(REVISION, {})
    history.acknowledge({"web1": ack(first, config=only(part("x"))), "web2": ack(first)}, part("x"))
    history.forget("web1")
    history.forget("never-was")
    assert list(history.acknowledged(["web1", "web2"])) == ["web2"]
    assert history.part(only(part("x"))) is None


def test_the_epoch_only_grows(history):
    history.raise_epoch(2)
    history.raise_epoch(5)
    for epoch in (5, 1):
        with pytest.raises(HistoryError, match="5"):
            history.raise_epoch(epoch)
    assert history.epoch() == 5


def test_restarting_at_a_number(history):
    history.restart_at(40)
    assert history.record(REVISION, {}).number == 40
    assert history.record(REVISION, {}).number == 41
    with pytest.raises(HistoryError, match="41"):
        history.restart_at(41)
    history.restart_at(50)
    assert history.record(REVISION, {}).number == 50
    assert history.verify() == 3


# The database.


def database_of(root) -> sqlite3.Connection:
    return sqlite3.connect(root / ".dasctl/history.db", isolation_level=None)


def test_questions_make_no_file(tmp_path):
    history = SqliteHistory(tmp_path)
    history.head(), history.epoch(), history.verify(), history.part("ab")
    assert os.listdir(tmp_path) == []


def test_it_is_there_after_opening_again(tmp_path):
    history = SqliteHistory(tmp_path)
    made = history.record(REVISION, part("a"))
    history.raise_epoch(3)
    history.acknowledge({"web1": ack(made, config=only(part("a")))}, {})
    history.close()
    again = SqliteHistory(tmp_path)
    assert (again.head(), again.epoch(), again.part(only(part("a")))) == (made, 3, part("a")[only(part("a"))])
    assert again.acknowledged(["web1"])["web1"].standing == made.standing
    again.close()


def test_a_folder_with_an_odd_name(tmp_path):
    root = tmp_path / "a?mode=ro#%41\udcff"
    history = SqliteHistory(root)
    history.record(REVISION, {})
    history.close()
    assert (root / ".dasctl/history.db").exists()


def test_a_newer_format_is_refused_by_name(tmp_path):
    history = SqliteHistory(tmp_path)
    history.record(REVISION, {})
    history.close()
    database = database_of(tmp_path)
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    for ask in (history.head, lambda: history.record(REVISION, {})):
        with pytest.raises(FormatTooNew, match=f"format {FORMAT + 1}"):
            ask()


def test_an_empty_file_counts_as_none(tmp_path):
    (tmp_path / ".dasctl").mkdir()
    (tmp_path / ".dasctl/history.db").touch()
    history = SqliteHistory(tmp_path)
    assert history.head() is None
    assert history.record(REVISION, {}).number == 1
    history.close()


@pytest.mark.parametrize("rubbish", [b"rubbish" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_an_error_with_a_way_on(tmp_path, rubbish):
    (tmp_path / ".dasctl").mkdir()
    (tmp_path / ".dasctl/history.db").write_bytes(rubbish)
    history = SqliteHistory(tmp_path)
    for ask in (history.head, history.verify, lambda: history.record(REVISION, {})):
        with pytest.raises(HistoryError) as caught:
            ask()
        assert "take-over" in caught.value.hint
    history.close()


def test_an_altered_row_is_found(tmp_path):
    history = SqliteHistory(tmp_path)
    for _ in range(3):
        history.record(REVISION, {})
    database = database_of(tmp_path)
    database.execute("UPDATE revisions SET who = 'nobody' WHERE number = 2")
    database.close()
    with pytest.raises(HistoryError, match="revision 2 of nobody"):
        history.verify()
    history.close()


@pytest.mark.parametrize("damage", ["zeroblob(10)", "X'789c030000000001'"])
def test_a_damaged_part_is_not_kept(tmp_path, damage):
    history = SqliteHistory(tmp_path)
    history.record(REVISION, part("a"))
    database = database_of(tmp_path)
    database.execute(f"UPDATE parts SET data = {damage}")
    database.close()
    assert history.part(only(part("a"))) is None
    history.close()


def test_a_part_is_stored_once(tmp_path):
    history = SqliteHistory(tmp_path)
    for _ in range(3):
        history.record(REVISION, part("a"))
    database = database_of(tmp_path)
    assert database.execute("SELECT count(*) FROM parts").fetchone() == (1,)
    database.close()
    history.close()


def test_a_failed_record_leaves_nothing(tmp_path):
    history = SqliteHistory(tmp_path)
    first = history.record(REVISION, {})
    with pytest.raises(TypeError):
        history.record(REVISION, {"ab": "not bytes"})
    assert history.head() == first
    assert history.record(REVISION, {}).number == 2
    history.close()


def test_several_threads_and_connections_lose_nothing(tmp_path):
    histories = [SqliteHistory(tmp_path) for _ in range(2)]
    numbers: list[int] = []

    def work(history):
        for _ in range(10):
            numbers.append(history.record(REVISION, part("a")).number)

    threads = [threading.Thread(target=work, args=(history,)) for history in histories for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(numbers) == list(range(1, 41))
    assert histories[0].verify() == 40
    for history in histories:
        history.close()


RECORD_FOR_EVER = """
import sys
from dasctl.adapters.history import SqliteHistory
from dasctl.core.stamps import Revision
history = SqliteHistory(sys.argv[1])
while True:
    made = history.record(Revision(number=0, epoch=1, config_id=1, who="w", host="h", when=1.0, command="c",
                                   summary="s", state="x"), {"%064d" % 1: b"x" * 100_000})
    sys.stdout.write(f"{made.number} {made.digest}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.013, 0.05])
def test_what_was_recorded_survives_a_kill(tmp_path, wait_s):
    writer = subprocess.Popen(
        [sys.executable, "-c", RECORD_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline()]
    time.sleep(wait_s)
    writer.send_signal(signal.SIGKILL)
    said += [line for line in writer.stdout.readlines() if line.endswith("\n")]
    writer.wait(60)
    writer.stdout.close()
    number, digest = said[-1].split()
    history = SqliteHistory(tmp_path)
    assert history.find(Standing(revision=int(number), digest=digest)) is not None
    assert history.verify() in (int(number), int(number) + 1)
    assert history.record(REVISION, {}).number >= int(number) + 1
    history.close()


def failed_at(*names: str) -> dict[str, Failure]:
    return {
        name: Failure(when=5.5, command="sync-cluster web", message=f"{name}: no\nanswer") for name in names
    }


def test_what_failed_is_remembered_until_it_is_mended(history):
    assert history.failures() == {}
    history.remember(News(failed=failed_at("web1", "web2"), mended=frozenset()))
    history.remember(News(failed=failed_at("web2", "web3"), mended=frozenset({"web1", "unheard-of"})))
    assert history.failures() == failed_at("web2", "web3")
    history.forget("web2")
    assert history.failures() == failed_at("web3")


def test_any_command_and_message_can_be_remembered(history):
    failure = Failure(when=1.0, command="stop-instance 'a b'", message="\udcff\x1b[2J € \x00 end")
    history.remember(News(failed={"web1": failure}, mended=frozenset()))
    assert history.failures() == {"web1": failure}


def test_a_database_of_before_has_no_failures_and_takes_them(tmp_path):
    """The table is younger than the format: it is made when it is first needed."""
    history = SqliteHistory(tmp_path)
    history.record(REVISION, part("a"))
    assert tables(tmp_path) == BEFORE
    assert history.failures() == {}
    history.forget("web1")
    assert tables(tmp_path) == BEFORE
    history.remember(News(failed=failed_at("web1"), mended=frozenset()))
    assert tables(tmp_path) == {*BEFORE, "failures"}
    assert history.verify() == 1
    history.close()
    assert SqliteHistory(tmp_path).failures() == failed_at("web1")


def test_asking_for_failures_makes_no_database(tmp_path):
    assert SqliteHistory(tmp_path).failures() == {}
    assert list(tmp_path.iterdir()) == []


BEFORE = {"settings", "revisions", "parts", "revision_parts", "acknowledged", "acknowledged_parts"}


def tables(root) -> set[str]:
    with contextlib.closing(sqlite3.connect(root / ".dasctl" / "history.db")) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


# What commands amounted to.


def told(revision: int = 1, **more: Any) -> Told:
    fields: dict[str, Any] = {
        "revision": revision, "when": 10.0, "who": "anna", "host": "das", "command": "sync-domain", "succeeded": 2,
        "failed": {"web1": "the disk is full", "web2": "the disk is full", "web3": "gone \udcff"},
    }  # fmt: skip
    return Told(**{**fields, **more})


def test_what_was_told_is_told_again(history):
    assert history.told([1, 2]) == []
    one, other = told(), told(2, command="start-cluster w\udcffb", failed={})
    history.tell(one)
    history.tell(other)
    assert history.told([1]) == [one]
    assert history.told([1, 2, 7]) == [one, other]
    assert history.told([]) == []


def test_what_comes_to_the_same_again_is_counted(history):
    for when in (1.0, 2.0, 3.0):
        history.tell(told(when=when))
    assert history.told([1]) == [told(when=3.0, times=3)]
    history.tell(told(when=4.0, failed={}))
    history.tell(told(when=5.0))
    assert [one.times for one in history.told([1])] == [3, 1, 1]


def test_what_came_out_of_a_backup_outranks_what_led_before(history):
    assert not history.outranks(0)
    assert not history.outranks(1)
    history.raise_epoch(4)
    history.restored(4)
    assert history.outranks(3)
    assert not history.outranks(4)
    assert not history.outranks(5)

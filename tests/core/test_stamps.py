"""The chain of digests: what is in it, and that any change shows."""

from dataclasses import replace

import pytest

from dasctl.core.chain import check_chain
from dasctl.core.stamps import Revision, Standing
from dasctl.errors import HistoryError

FIRST = Revision(
    number=1, epoch=1, config_id=7, who="anna", host="das", when=1.5, command="create-domain", summary="made", state="aa"
)  # fmt: skip


def chain(count: int) -> list[Revision]:
    made: list[Revision] = []
    for number in range(1, count + 1):
        previous = made[-1].digest if made else ""
        made.append(replace(FIRST, number=number, state=f"{number}").sealed(previous))
    return made


def test_a_sealed_revision_is_the_same_but_for_its_digest():
    sealed = FIRST.sealed("")
    assert replace(sealed, digest="") == FIRST
    assert len(sealed.digest) == 64
    assert sealed.standing == Standing(revision=1, digest=sealed.digest)


def test_sealing_twice_changes_nothing():
    assert FIRST.sealed("x").sealed("x") == FIRST.sealed("x")


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2}, {"epoch": 2}, {"config_id": 8}, {"who": "bert"}, {"host": "other"}, {"when": 1.6},
        {"command": "x"}, {"summary": "x"}, {"state": "bb"},
    ],
)  # fmt: skip
def test_every_field_is_in_the_digest(change):
    assert replace(FIRST, **change).sealed("").digest != FIRST.sealed("").digest


def test_fields_do_not_run_into_each_other():
    one = replace(FIRST, who="ab", host="c").sealed("")
    other = replace(FIRST, who="a", host="bc").sealed("")
    assert one.digest != other.digest


def test_the_revision_before_is_in_the_digest():
    assert FIRST.sealed("").digest != FIRST.sealed("0").digest


def test_names_that_are_no_utf8_can_be_sealed():
    assert replace(FIRST, who="j\udcffrg").sealed("").digest


def test_a_chain_as_recorded_is_good():
    assert check_chain(chain(5)) == 5
    assert check_chain([]) == 0


@pytest.mark.parametrize("place", range(5))
def test_an_altered_revision_is_named(place):
    altered = chain(5)
    altered[place] = replace(altered[place], summary="it was not me")
    with pytest.raises(HistoryError, match=f"revision {place + 1} "):
        check_chain(altered)


def test_a_revision_taken_out_shows():
    gap = chain(5)
    del gap[2]
    with pytest.raises(HistoryError, match="revision 4 "):
        check_chain(gap)


def test_the_lead_carries_who_made_the_revision():
    assert FIRST.sealed("").as_lead() == {
        "epoch": 1, "config_id": 7, "revision": 1, "digest": FIRST.sealed("").digest,
        "who": "anna", "host": "das", "when": 1.5, "command": "create-domain",
    }  # fmt: skip

"""What travels, and in which shares."""

from dasctl.core.exchange import PIECE
from dasctl.core.sending import RUN, Item, as_it_is, offsets, runs, shares, total, whole


def item(digest: str, travels: int) -> Item:
    return Item(digest=digest, size=travels, travels=travels)


def test_a_content_goes_on_at_the_piece_in_which_the_node_stopped():
    size = 3 * PIECE
    assert whole("a", size, 300) == Item(digest="a", size=size, travels=300)
    assert whole("a", size, 300, PIECE - 1).offset == 0
    assert whole("a", size, 300, PIECE) == Item(digest="a", size=size, offset=PIECE, travels=200)
    assert whole("a", size, 300, 3 * PIECE - 1) == Item(digest="a", size=size, offset=2 * PIECE, travels=100)


def test_what_is_not_packed_travels_with_all_its_bytes():
    size = 3 * PIECE
    assert as_it_is("a", size) == Item(digest="a", size=size, travels=size, as_it_is=True)
    rest = as_it_is("a", size, 2 * PIECE + 1)
    assert (rest.offset, rest.travels, rest.as_it_is) == (2 * PIECE, PIECE, True)


def test_a_node_that_says_it_has_more_than_there_is():
    assert whole("a", 10, 10, 11) == Item(digest="a", size=10, travels=10)
    assert whole("a", 0, 0, 5) == Item(digest="a", size=0, travels=0)


def test_the_last_piece_is_sent_to_whoever_has_all():
    """A helper that is killed before a complete content has its name leaves a beginning that ends with the content."""
    assert whole("a", 2 * PIECE, 200, 2 * PIECE) == Item(
        digest="a", size=2 * PIECE, offset=PIECE, travels=100
    )
    assert whole("a", 2 * PIECE, 200, 1 << 62).offset == PIECE
    assert whole("a", PIECE, 100, PIECE).offset == 0


def test_a_beginning_counts_where_all_instances_have_the_same():
    assert offsets([{"a": 5, "b": 1}, {"a": 5, "b": 2}, {"c": 7}]) == {"a": 5, "b": 0, "c": 7}


def test_runs_make_up_the_plan():
    plan = tuple(item(f"{number:064x}", RUN // 50) for number in range(2000))
    found = runs(plan)
    assert sum(found, ()) == plan
    assert 20 < len(found) < 80  # 40 on average
    assert runs(()) == []


def test_plans_that_differ_in_a_few_contents_have_their_other_runs_in_common():
    plan = tuple(item(f"{number:064x}", RUN // 50) for number in range(2000))
    others = (item("own", 300), *plan[:700], item("more", RUN // 2), *plan[703:])
    assert len({*runs(plan)} & {*runs(others)}) >= len(runs(plan)) - 3


def test_shares_are_disjoint_complete_and_even():
    plan = tuple(item(str(number), number) for number in range(1, 101))
    parts = shares(plan, 5)
    assert sorted((i for part in parts for i in part), key=lambda i: i.travels) == list(plan)
    assert max(map(total, parts)) - min(map(total, parts)) <= 10
    assert all(list(part) == sorted(part, key=plan.index) for part in parts)


def test_one_large_content_is_one_share():
    parts = shares((item("a", 1000),), 3)
    assert [total(part) for part in parts] == [1000, 0, 0]

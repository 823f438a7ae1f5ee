"""Whether contents are packed on a line."""

import pytest

from dasctl.core.lines import LONG_S, WORTH, Ends, is_short, may_go_as_they_are


@pytest.mark.parametrize(
    ("das", "node", "size", "plain"),
    [
        ("b1", "b1", WORTH, True),
        ("b1", "b1", 100 * WORTH, True),
        ("b1", "b1", WORTH - 1, False),
        ("b1", "b2", 100 * WORTH, False),
        ("", "", 100 * WORTH, False),  # neither kernel says who it is, so they may be two
        ("", "b1", 100 * WORTH, False),
        ("b1", None, 100 * WORTH, False),
        ("b1", ["b1"], 100 * WORTH, False),  # whatever a node says
    ],
)
def test_only_where_much_goes_to_the_same_machine(das, node, size, plain):
    assert may_go_as_they_are(Ends(das=das, node=node), size) is plain


def test_a_line_of_one_machine_may_be_a_long_one_all_the_same():
    assert is_short(None)
    assert is_short(0.0001)
    assert not is_short(LONG_S)
    assert not is_short(0.04)

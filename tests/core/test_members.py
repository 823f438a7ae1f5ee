"""Coordinates, and patterns of members."""

from __future__ import annotations

import pytest

from dasctl.core.coordinates import Coordinates, Das, coordinates_of
from dasctl.core.members import area_relative
from dasctl.errors import FormatTooNew, OperationFailed, UsageError
from dasctl.operations.member_key import quoted


@pytest.mark.parametrize(
    ("text", "das"),
    [
        ("h", Das(host="h")),
        ("u@h:22", Das(user="u", host="h", port=22)),
        ("u@[::1]:2222", Das(user="u", host="::1", port=2222)),
        ("::1", Das(host="::1")),
    ],
)
def test_addresses(text: str, das: Das) -> None:
    assert Das.parsed(text) == das


@pytest.mark.parametrize(
    "text", ["", "@h", "-oProxyCommand=x", "u@h:0", "u@h:x", "u@h:99999", "h x", "u@", "h:"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        Das.parsed(text)


def test_coordinates_survive_their_file() -> None:
    known = Coordinates(
        das=Das(host="h", user="u", port=22), domain_dir="/srv/my shop", domain_name="shop", domain_id="x",
        node="n1", instances=("web1",), key="/k", host_key="h ssh-ed25519 AAAA",
    )  # fmt: skip
    assert coordinates_of(known.as_json(), "das.json") == known
    assert known.remote_command == "dasctl --domain '/srv/my shop' serve-members"


def test_damaged_coordinates() -> None:
    with pytest.raises(OperationFailed):
        coordinates_of({"format": 1}, "das.json")
    with pytest.raises(FormatTooNew):
        coordinates_of({"format": 2}, "das.json")


def test_patterns_within_areas() -> None:
    assert "docroot/images/big*.png" in area_relative(("images/big*.png",))
    assert area_relative(("docroot/*.jpg", "*.png", "/lib")) == ("docroot/*.jpg", "*.png", "/lib")


def test_quotes_in_authorized_keys() -> None:
    assert quoted('a "b"') == 'a \\"b\\"'
    with pytest.raises(UsageError):
        quoted("a\nb")

"""Where `--das` leads, who asked, and what a caller is told."""

from __future__ import annotations

import pytest

from dasctl.core.coordinates import Das
from dasctl.core.elsewhere import Caller, Place, caller_of, retold, words_of
from dasctl.core.outcome import Outcome, Problem, Result
from dasctl.errors import ExitCode, UsageError

PLACES = [
    ("deploy@das.example.com:/srv/shop", Das(host="das.example.com", user="deploy"), "/srv/shop"),
    ("das:shop", Das(host="das"), "shop"),
    ("das:~/shop", Das(host="das"), "~/shop"),
    ("ann@das:2222:/srv/shop", Das(host="das", user="ann", port=2222), "/srv/shop"),
    ("das:2222", Das(host="das"), "2222"),
    ("das:/srv/a:b@c d", Das(host="das"), "/srv/a:b@c d"),
    ("ann@[::1]:2222:/srv", Das(host="::1", user="ann", port=2222), "/srv"),
    ("[fe80::1%eth0]:/srv", Das(host="fe80::1%eth0"), "/srv"),
    ("ann@corp.example@das:x", Das(host="das", user="ann@corp.example"), "x"),
    ("das:new\nline", Das(host="das"), "new\nline"),
]


@pytest.mark.parametrize(("text", "das", "folder"), PLACES)
def test_places(text: str, das: Das, folder: str) -> None:
    place = Place.parsed(text)
    assert (place.das, place.dir, place.command) == (das, folder, "dasctl")


@pytest.mark.parametrize(
    "text", ["", "das", "das:", ":x", "@das:x", "-oX=y:z", "a b:x", "das:99999:/x", "::1:/srv"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="not a domain on another machine"):
        Place.parsed(text)


def test_the_caller_survives_an_environment() -> None:
    caller = Caller(who="ann@laptop", command="deploy 'a\udcff'", files={"/tmp/x/0/a": "a\udcff"})
    assert caller_of(caller.as_text()) == caller
    assert caller.via("deploy") == "ann@laptop via deploy"
    for text in (
        None,
        "",
        "{}",
        "[]",
        "null",
        '{"who": 1}',
        "x" * 100,
        '{"who": "a", "command": "b", "files": 3}',
    ):
        assert caller_of(text) is None
    assert caller_of('{"who": "a\\u001b[1m\\n", "command": "", "files": {}}') == Caller(who="a?[1m?")


def test_an_outcome_in_the_callers_words() -> None:
    caller = Caller(who="ann", files={"/tmp/x/0/a.war": "build/a.war", "/tmp/x/1/out": "out"})
    error = Problem(message="/tmp/x/0/a.war is no archive", hint="look at /tmp/x/0/a.war")
    rows = (
        Result(status="ok", fields={"file": "/tmp/x/1/out/b.tar", "list": ["/tmp/x/1/out", 3]}, error=error),
    )
    outcome = Outcome(command="deploy", status="failed", exit_code=ExitCode.FAILED, results=rows, error=error)
    told = retold(outcome, caller)
    assert told.error == Problem(message="build/a.war is no archive", hint="look at build/a.war")
    assert told.results[0].fields == {"file": "out/b.tar", "list": ["out", 3]}
    assert told.exit_code is ExitCode.FAILED


def test_words_as_they_arrive() -> None:
    assert words_of(["a", ["--to=", 0], ["", 1]], ["/x", "/y"]) == ["a", "--to=/x", "/y"]
    for wrong in ("a", [1], [["", 2]], [["", -1]], [["", True]], ["a\0b"], [[0, 0]]):
        with pytest.raises((ValueError, IndexError)):
            words_of(wrong, ["/x", "/y"])

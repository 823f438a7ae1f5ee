"""The short way of plain command lines gives the same call as the long way, or leaves the line to it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from dasctl.cli.app import build_app
from dasctl.cli.call import Call, Settings
from dasctl.cli.main import run
from dasctl.cli.quick import recognised
from dasctl.cli.session import Session
from dasctl.core.exchange import Event
from dasctl.core.outcome import Outcome, summed_up

PLAIN = [
    "sync-cluster web",
    "sync-cluster web db --json",
    "--json --domain shop sync-cluster web",
    "sync-cluster --domain shop web -q",
    "sync-instance web1 web[2-3] node:n1",
    "sync-instance --terse web1",
    "sync-domain",
    "-v sync-domain",
    "sync-domain --json --quiet",
    "sync-domain --verbose",
]
LEFT = [
    "", "sync-cluster", "sync-domain web", "sync-cluster web --dry-run", "sync-cluster web --help",
    "sync-cluster web --domain",    "sync-cluster web --domain=shop", "sync-cluster -qv web",
    "sync-cluster --json --terse web", "sync-cluster -q -v web",
    "sync-cluster web --parallel 3", "sync-cluster -- web", "sync-clusters web", "list-instances", "--version",
    "--jso sync-domain",
    "sync-cluster web --domain --json",
]  # fmt: skip


class Recorder:
    """A runner that keeps what it was to carry out."""

    def __init__(self) -> None:
        self.seen: list[tuple[Call, Settings]] = []

    def __call__(self, call: Call, settings: Settings, *, on_event: Callable[[Event], None]) -> Outcome:
        self.seen.append((call, settings))
        return summed_up(call.command, [])


def _long_way(line: str) -> tuple[Call, Settings]:
    recorder = Recorder()
    session = Session(runner=recorder, out=io.StringIO(), err=io.StringIO())
    build_app().main(line.split(), prog_name="dasctl", standalone_mode=False, obj=session)
    return recorder.seen[0]


@pytest.mark.parametrize("variable", ["", "elsewhere"])
@pytest.mark.parametrize("line", PLAIN)
def test_both_ways_lead_to_the_same(line: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASCTL_DOMAIN", variable)
    quick = recognised(line.split())
    assert quick is not None
    long = _long_way(line)
    assert quick[0] == long[0]
    assert quick[1] == long[1]


@pytest.mark.parametrize("line", LEFT)
def test_what_is_not_plain_goes_the_long_way(line: str) -> None:
    assert recognised(line.split()) is None


def test_an_empty_domain_is_not_the_one_of_the_environment() -> None:
    """As a script has it whose variable is empty: `--domain "$SHOP"`."""
    line = ["--domain", "", "sync-domain"]
    assert recognised(line, {"DASCTL_DOMAIN": "elsewhere"}) is None


def test_program_takes_the_short_way() -> None:
    recorder = Recorder()
    assert run(["sync-cluster", "web", "--json"], out=io.StringIO(), err=io.StringIO(), runner=recorder) == 0
    assert recorder.seen[0][0].arguments["targets"] == ["web"]

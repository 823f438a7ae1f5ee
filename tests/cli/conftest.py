"""The command line on a fake runner: what it calls, and what it prints, without any operation."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from dasctl.cli.call import Call, Settings
from dasctl.cli.main import run
from dasctl.core.outcome import OK, Outcome
from dasctl.errors import ExitCode


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(kw_only=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str
    calls: list[tuple[Call, Settings]] = field(default_factory=list)

    @property
    def call(self) -> Call:
        return self.calls[0][0]

    @property
    def settings(self) -> Settings:
        return self.calls[0][1]


class Dasctl(Protocol):
    """Runs a command line; `outcome` (or what `runner` makes) is what its operation returns."""

    def __call__(
        self,
        *arguments: str,
        outcome: Outcome | None = None,
        runner: Callable[..., Outcome] | None = None,
        terminal: bool = False,
    ) -> Ran: ...


@pytest.fixture
def dasctl(monkeypatch: pytest.MonkeyPatch) -> Dasctl:
    for name in ("DASCTL_DOMAIN", "NO_COLOR", "COLUMNS", "_DASCTL_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def go(
        *arguments: str,
        outcome: Outcome | None = None,
        runner: Callable[..., Outcome] | None = None,
        terminal: bool = False,
    ) -> Ran:
        calls: list[tuple[Call, Settings]] = []

        def record(call: Call, settings: Settings, *, on_event: Any) -> Outcome:
            calls.append((call, settings))
            if runner is not None:
                return runner(call, settings, on_event=on_event)
            return outcome or Outcome(command=call.command, status=OK, exit_code=ExitCode.OK)

        make = Terminal if terminal else io.StringIO
        out, err = make(), make()
        code = run(arguments, out=out, err=err, runner=record)
        return Ran(code=code, out=out.getvalue(), err=err.getvalue(), calls=calls)

    return go

"""What a command line asks for, as a value: the operation's name and its arguments; and who carries it out.

What lives here: the value, the protocol of a runner, and the real runner. Operations and wiring are imported when a
command runs and not before: help, completion and wrong usage stay fast, and know nothing of SSH.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dasctl.core.elsewhere import CarriedFile, Place
    from dasctl.core.exchange import Event
    from dasctl.core.outcome import Outcome
    from dasctl.head_start import HeadStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The global options of one command line. Times in seconds."""

    domain: Path | None = None
    json: bool = False
    terse: bool = False
    quiet: bool = False
    verbose: bool = False
    parallel: int = 64
    limit: float | None = None  # bytes per second, over all nodes together
    wait_s: float = 0.0
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation to carry out: `dasctl.operations.NAME:NAME(world, **arguments)`.

    `world` is the context of the domain, or without a domain what lies outside of it. `ask` puts a question to a person
    (in any thread); None: nobody is there. `without_results` is the exit code where it failed as a whole (None: its own).
    """

    command: str
    operation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs_domain: bool = True
    ask: Callable[[str], bool] | None = None
    without_results: int | None = None

    def resolve(self) -> Callable[..., Awaitable[Outcome]]:
        """The operation itself; one verb, one file, one function."""
        function: Callable[..., Awaitable[Outcome]] = getattr(
            import_module(f"dasctl.operations.{self.operation}"), self.operation
        )
        return function


class Runner(Protocol):
    """Carries out calls. Raises nothing that is a DasctlError: that is in the outcome."""

    def __call__(self, call: Call, settings: Settings, *, on_event: Callable[[Event], None]) -> Outcome: ...


class Elsewhere(Protocol):
    """Runs a command line on another machine; returns its exit code there. Raises DasctlError, KeyboardInterrupt."""

    def __call__(
        self,
        place: Place,
        words: Sequence[str | tuple[str, int]],
        files: Sequence[CarriedFile],
        *,
        typed: Sequence[str],
        timeout_s: float,
        quiet: bool,
        ask: Callable[[str], bool] | None,
    ) -> int: ...


def run_elsewhere(
    place: Place, words: Sequence[str | tuple[str, int]], files: Sequence[CarriedFile], **how: Any
) -> int:
    """The real one: over SSH."""
    from dasctl.adapters.quick_start import start_lean

    start_lean()  # before anything imports asyncio
    from dasctl import wiring

    return wiring.run_elsewhere(place, words, files, **how)


def run_wired(call: Call, settings: Settings, *, on_event: Callable[[Event], None]) -> Outcome:
    """The real runner: builds the context from the world, and runs the operation in it."""
    begun = _head_start(call, settings)
    if not call.operation.startswith("serve"):
        from dasctl.adapters.quick_start import start_lean

        start_lean()  # before anything imports asyncio
    from dasctl import wiring

    operation = call.resolve()
    options = wiring.Options(
        domain=settings.domain,
        parallel=settings.parallel,
        limit=settings.limit,
        wait_s=settings.wait_s,
        timeout_s=settings.timeout_s,
    )
    if call.needs_domain:
        return wiring.run(
            options, call.command, lambda world: operation(world, **call.arguments), on_event=on_event, ask=call.ask,
            begun=begun,
        )  # fmt: skip
    return wiring.run_without_domain(
        options, call.command, lambda world: operation(world, **call.arguments), on_event=on_event
    )


def _head_start(call: Call, settings: Settings) -> HeadStart | None:
    """What can be begun before all that a command needs is imported."""
    from dasctl.cli.quick import is_plain

    if not is_plain(call) or settings.limit is not None:  # what goes out early asks no throttle
        return None
    from dasctl.adapters.quick_start import lean_msgspec

    lean_msgspec()
    from dasctl.head_start import begin

    return begin(
        settings.domain, call.arguments["targets"], parallel=settings.parallel, timeout_s=settings.timeout_s
    )

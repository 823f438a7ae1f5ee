"""The options of a rolling change, for all commands that can make one.

What lives here: their declaration, to be mixed in by `with_options`, and the value that they amount to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from dasctl.errors import UsageError

if TYPE_CHECKING:
    from dasctl.core.rolling import Rolling

_ROLLING = typer.Option(
    False,
    "--rolling",
    help="Batch by batch: drain, stop, synchronise, start, ready check, undrain; the next batch when all are ready.",
)
_BATCH = typer.Option(
    None, "--batch", metavar="N|N%", help="With --rolling: how many instances go side by side. [default: 1]"
)
_PAUSE = typer.Option(
    0.0, "--pause", metavar="SECONDS", min=0, help="With --rolling: how long to wait between two batches."
)
_AUTO_ROLLBACK = typer.Option(
    False,
    "--auto-rollback",
    help="With --rolling: when too many have failed, bring the changed ones back to the revision before.",
)
_RESUME = typer.Option(
    False,
    "--resume",
    help="Go on with the rolling change that was stopped; its own options hold, where they are not given anew.",
)
_ANEW = typer.Option(
    False,
    "--anew",
    help="With --rolling: forget the rolling change that was stopped, and begin this one.",
)
_MAX_FAILURES = typer.Option(
    None,
    "--max-failures",
    metavar="N|N%",
    help="With --rolling: begin no further batch when more instances than that have failed. [default: 0]",
)
_OPTIONS = {
    "batch": "--batch", "pause": "--pause", "auto_rollback": "--auto-rollback", "anew": "--anew",
}  # fmt: skip


def rolling_options(
    rolling: bool = _ROLLING,
    batch: str | None = _BATCH,
    pause: float = _PAUSE,
    auto_rollback: bool = _AUTO_ROLLBACK,
    resume: bool = _RESUME,
    anew: bool = _ANEW,
) -> None:
    """For commands that have a `--max-failures` of their own: its parameters are the declaration."""


def rolling_options_with_limit(
    rolling: bool = _ROLLING,
    batch: str | None = _BATCH,
    max_failures: str | None = _MAX_FAILURES,
    pause: float = _PAUSE,
    auto_rollback: bool = _AUTO_ROLLBACK,
    resume: bool = _RESUME,
    anew: bool = _ANEW,
) -> None:
    """The same for all others."""


def taken_from(options: dict[str, Any]) -> Rolling | None:
    """What these options amount to; they are taken out of `options`, `max_failures` too where it is a rolling change's.

    Raises UsageError where one of them needs `--rolling`, or is not what it should be.
    """
    from dasctl.core.rolling import Rolling

    names = ("batch", "pause", "auto_rollback", "resume", "anew")
    rolls, given = options.pop("rolling", False), {name: options.pop(name, None) for name in names}
    if not rolls and not given["resume"]:
        _needs_rolling(given)
        return None
    asked = Rolling(
        batch=given["batch"], max_failures=options.pop("max_failures", None), pause_s=given["pause"] or 0.0,
        auto_rollback=bool(given["auto_rollback"]), resume=bool(given["resume"]), anew=bool(given["anew"]),
    )  # fmt: skip
    if asked.resume and asked.anew:
        raise UsageError("--resume and --anew contradict each other", hint="give one of them")
    _judged("--batch", lambda: asked.size(1))
    _judged("--max-failures", lambda: asked.tolerance)
    return asked


def _needs_rolling(given: Mapping[str, Any]) -> None:
    lonely = [option for name, option in _OPTIONS.items() if given[name]]
    if lonely:
        raise UsageError(f"{lonely[0]} goes with --rolling alone", hint="add --rolling")


def _judged(option: str, judge: Callable[[], object]) -> None:
    try:
        judge()
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error

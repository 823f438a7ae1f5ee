"""One command from its call to its exit code: run, watch, show.

What lives here: the order of these, what a person is asked meanwhile, and the one door for errors that nobody
expected. The streams and the runner are arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from dasctl.cli.call import Call, Elsewhere, Runner, Settings, run_elsewhere
from dasctl.cli.palette import is_screen, palette_for
from dasctl.cli.streams import delivered
from dasctl.cli.text import lines, plain
from dasctl.core.outcome import UNCHANGED, Outcome, failed
from dasctl.errors import DasctlError, ExitCode, OperationFailed

CALLER = "DASCTL_CALLER"  # see core/elsewhere.py

if TYPE_CHECKING:
    import typer

    from dasctl.cli.live import LiveView, Log
    from dasctl.core.exchange import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every command function finds in its context."""

    runner: Runner
    out: TextIO
    err: TextIO
    elsewhere: Elsewhere = run_elsewhere

    def carry_out(
        self,
        ctx: typer.Context,
        operation: str,
        *,
        long: bool = False,
        with_long: bool = False,
        without_results: int | None = None,
        **arguments: Any,
    ) -> int:
        """Run `operation` in the domain under the command's own name; returns the exit code.

        `with_long` says that the operation wants to know `long` too. `without_results`: see Call.
        """
        if with_long:
            arguments["long"] = long or settings_of(ctx).terse  # rows for scripts always have all columns
        rolling = arguments.get("rolling")
        if rolling is not None and rolling.resume:  # what was begun says what is left to do, not this command
            operation, arguments = "resume", {"command": str(ctx.info_name), "rolling": rolling}
        call = Call(
            command=str(ctx.info_name),
            operation=operation,
            arguments=arguments,
            without_results=without_results,
        )
        return self._run(ctx, call, long=long)

    def carry_out_without_domain(self, ctx: typer.Context, operation: str, **arguments: Any) -> int:
        """The same for operations that have no domain, or none yet."""
        call = Call(command=str(ctx.info_name), operation=operation, arguments=arguments, needs_domain=False)
        return self._run(ctx, call)

    def carry_out_asking(
        self, ctx: typer.Context, operation: str, *, ask: Callable[[str], str], **arguments: Any
    ) -> int:
        """The same for an operation that may ask for a password with its argument `ask_password`."""
        watcher = self._watcher(settings_of(ctx))

        def asked(whose: str) -> str:
            with watcher.paused() if watcher is not None else nullcontext():
                return ask(whose)

        call = Call(
            command=str(ctx.info_name), operation=operation, arguments={**arguments, "ask_password": asked}
        )
        return self._run(ctx, call, watcher=watcher)

    def carry_out_service(self, ctx: typer.Context, operation: str, **arguments: Any) -> int:
        """The same for a service, which calls its argument `on_ready` with where it listens, and goes on."""
        settings = settings_of(ctx)
        ready: list[Mapping[str, Any]] = []

        def on_ready(facts: Mapping[str, Any]) -> None:
            ready.append(facts)
            self._announce(str(ctx.info_name), facts, settings)

        call = Call(
            command=str(ctx.info_name), operation=operation, arguments={**arguments, "on_ready": on_ready},
            needs_domain=False,
        )  # fmt: skip
        outcome = self._outcome(call, settings, _ignore)
        if not ready or not settings.json:  # one document: the one that said that it is ready
            return self.report(outcome, settings)
        return int(outcome.exit_code)

    def carry_out_stream(
        self, ctx: typer.Context, operation: str, *, with_files: bool, **arguments: Any
    ) -> int:
        """The same for an operation that gives its argument `show` lines as they come. As JSON each is a document of its
        own, and the outcome is the last one.
        """
        from dasctl.cli.log_screen import LogScreen

        settings = settings_of(ctx)
        screen = LogScreen(self.out, self.err, settings, with_files=with_files)
        arguments["show"] = screen.show
        call = Call(command=str(ctx.info_name), operation=operation, arguments=arguments)
        code = self.report(self._outcome(call, settings, _ignore), settings)
        return code or (0 if screen.arrived else int(ExitCode.FAILED))

    def carry_out_conversation(self, ctx: typer.Context, operation: str, **arguments: Any) -> int:
        """The same for an operation to which standard output belongs: only failures are told, on standard error."""
        settings = replace(settings_of(ctx), json=False, terse=False, quiet=True)
        call = Call(command=str(ctx.info_name), operation=operation, arguments=arguments)
        outcome = self._outcome(call, settings, _ignore)
        if outcome.exit_code:
            self.report(replace(outcome, results=(), notes=(), data={}), settings)
        return int(outcome.exit_code)

    def _outcome(self, call: Call, settings: Settings, on_event: Callable[[Event], None]) -> Outcome:
        try:
            return self.runner(call, settings, on_event=on_event)
        except KeyboardInterrupt:
            return interrupted(call.command)
        except DasctlError as error:
            return failed(call.command, error)

    def _run(
        self, ctx: typer.Context, call: Call, *, long: bool = False, watcher: LiveView | Log | None = None
    ) -> int:
        return self.run(call, settings_of(ctx), long=long, watcher=watcher)

    def run(
        self, call: Call, settings: Settings, *, long: bool = False, watcher: LiveView | Log | None = None
    ) -> int:
        """Carry out `call` and show its outcome; returns the exit code."""
        watcher = watcher or self._watcher(settings)
        call = replace(call, ask=self._asker(watcher))
        try:
            outcome = self._outcome(call, settings, watcher.on_event if watcher else _ignore)
        finally:
            if watcher is not None:
                watcher.stop()
        if outcome.exit_code and not outcome.results and call.without_results is not None:
            outcome = replace(outcome, exit_code=call.without_results)
        return self.report(outcome, settings, long=long)

    def _asker(self, watcher: LiveView | Log | None) -> Callable[[str], bool] | None:
        """How a person is asked whether to go on; None where nobody sits at a terminal."""
        if not (is_screen(self.err) and sys.stdin is not None and is_screen(sys.stdin)):
            return None

        def asked(question: str) -> bool:
            with watcher.paused() if watcher is not None else nullcontext():
                return confirmed_on_terminal(question, self.err)

        return asked

    def report(self, outcome: Outcome, settings: Settings, *, long: bool = False) -> int:
        """Show an outcome; returns the exit code, which is bad also where the results could not be written."""
        if CALLER in os.environ:
            outcome = in_callers_words(outcome, os.environ[CALLER])
        if settings.json:
            arrived = delivered(lambda: self._document(outcome), self.err)
            return int(outcome.exit_code) or (0 if arrived else int(ExitCode.FAILED))
        if settings.quiet and outcome.status == UNCHANGED and _is_good(outcome):
            return int(ExitCode.OK)  # nothing to show, so nothing is imported that shows
        from dasctl.cli.screen import screen_for
        from dasctl.cli.show import show_messages, show_results

        screen = screen_for(self.out, self.err, settings, now=time.time())
        arrived = delivered(lambda: show_results(outcome, screen, long=long), self.err)
        delivered(lambda: show_messages(outcome, screen), self.err)
        return int(outcome.exit_code) or (0 if arrived else int(ExitCode.FAILED))

    def _document(self, outcome: Outcome) -> None:
        """The outcome as one line of JSON in ASCII: any name passes, also one that is not UTF-8."""
        self.out.write(json.dumps(outcome.as_json(), ensure_ascii=True, default=str) + "\n")
        self.out.flush()

    def _announce(self, command: str, facts: Mapping[str, Any], settings: Settings) -> None:
        """Say at once that a service is ready, and where."""
        if settings.json:
            words = json.dumps({"command": command, "status": "ready", **facts}, default=str)
        elif settings.terse:
            words = "\t".join(plain(str(value)) for value in facts.values())
        else:
            words = "ready: " + ", ".join(
                f"{key.replace('_', ' ')} {plain(str(value))}" for key, value in facts.items()
            )
        self.out.write(words + "\n")
        self.out.flush()

    def _watcher(self, settings: Settings) -> LiveView | Log | None:
        if settings.json or settings.terse or settings.quiet:
            return None
        from dasctl.cli.live import LiveView, Log

        if settings.verbose:
            return Log(self.err)
        palette = palette_for(self.err)
        return LiveView(self.err, colours=palette.colours) if _can_repaint(self.err) else None


def _can_repaint(stream: TextIO) -> bool:
    return is_screen(stream) and os.environ.get("TERM", "") not in ("", "dumb")


def _is_good(outcome: Outcome) -> bool:
    return outcome.error is None and outcome.exit_code == ExitCode.OK


def _ignore(event: Event) -> None:
    """Nobody watches."""


def in_callers_words(outcome: Outcome, caller: str) -> Outcome:
    """The outcome as somebody elsewhere is told it: with the names that his own files have."""
    from dasctl.core.elsewhere import caller_of, retold

    known = caller_of(caller)
    return outcome if known is None or not known.files else retold(outcome, known)


def interrupted(command: str) -> Outcome:
    """The outcome of a command that was interrupted before it could say what it had done."""
    return failed(
        command,
        OperationFailed(
            "interrupted", hint="what was begun on a node is finished or undone there by the next command"
        ),
    )


def settings_of(ctx: typer.Context) -> Settings:
    """The global options of this command line."""
    from dasctl.cli import options  # brings the parser, which plain command lines do without

    return options.settings_of(ctx)


def session_of(ctx: typer.Context) -> Session:
    """The session that this command line runs in."""
    session = ctx.obj
    assert isinstance(session, Session)
    return session


def confirmed_on_terminal(question: str, err: TextIO) -> bool:
    """Whether somebody says yes; anything else, an end of the input too, is no."""
    for line in lines(question):
        err.write(f"{line}\n")
    err.write("Go on? [y/N] ")
    err.flush()
    try:
        # Not through sys.stdin: this may be a thread that still waits when the process ends, and would hold its lock.
        answer = os.read(sys.stdin.fileno(), 1024)
    except OSError:
        return False
    return answer.strip().lower() in (b"y", b"yes")


def ask_on_terminal(whose: str) -> str:
    """Ask for a password, unseen. Raises OperationFailed where nobody can be asked."""
    import getpass
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # getpass warns when it could not hide what is typed: then we do not ask
            return getpass.getpass(f"password of {whose}: ", stream=None)
    except (EOFError, Warning, OSError) as error:
        raise OperationFailed(
            f"the password of {whose} is needed, and there is no terminal to ask for it",
            hint="run the command on a terminal, or install the key with the node's own tools",
        ) from error

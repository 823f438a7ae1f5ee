"""The entry point: streams, the fast way of `--version`, and the one door for errors.

What lives here: what must hold for every command line. What must not: commands.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from dasctl import __version__
from dasctl.cli.call import Runner, Settings, run_wired
from dasctl.errors import DasctlError, ExitCode

COMPLETION = "_DASCTL_COMPLETE"  # set by the shell's completion function


def main() -> None:
    """Run the command line of this process, and end it with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is shown escaped; it is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:], out=sys.stdout, err=sys.stderr)
    _close_output()
    sys.exit(code)


def run(arguments: Sequence[str], *, out: TextIO, err: TextIO, runner: Runner = run_wired) -> int:
    """Carry out one command line; returns its exit code. Help and completion go to the process's own output."""
    if list(arguments) == ["--version"] and COMPLETION not in os.environ:
        out.write(f"dasctl {__version__}\n")  # before anything is imported
        return int(ExitCode.OK)

    from dasctl.cli.session import Session

    session = Session(runner=runner, out=out, err=err)
    try:
        return _run_commands(arguments, session)
    except DasctlError as error:
        return _report(error, arguments, session)
    except KeyboardInterrupt:
        from dasctl.errors import OperationFailed

        return _report(OperationFailed("interrupted"), arguments, session)
    except BrokenPipeError:
        return int(ExitCode.FAILED)
    except Exception as error:
        return _report_fault(error, arguments, session)


def _run_commands(arguments: Sequence[str], session: object) -> int:
    from dasctl.cli.app import build_app, explained

    try:
        code = build_app().main(list(arguments), prog_name="dasctl", standalone_mode=False, obj=session)
    except Exception as error:
        if type(error).__name__ == "Abort":  # click's and typer's word for Ctrl-C
            raise KeyboardInterrupt from error
        usage = explained(error)
        if usage is None:
            raise
        raise usage from error
    return code if isinstance(code, int) else int(ExitCode.OK)


def _report(error: DasctlError, arguments: Sequence[str], session: object) -> int:
    """Say what is wrong with a command line that never became a command's call."""
    from dasctl.cli.session import Session
    from dasctl.core.outcome import failed

    assert isinstance(session, Session)
    given = _before_dashes(arguments)
    # The options could not be parsed, so this looks for the word: whoever asks for JSON gets JSON.
    settings = Settings(json="--json" in given)
    session.report(failed(_command_of(given), error), settings)
    return int(error.exit_code)


def _report_fault(error: Exception, arguments: Sequence[str], session: object) -> int:
    """A fault of the program itself: one line, and the whole story with `--verbose`."""
    import traceback

    from dasctl.errors import OperationFailed

    given = _before_dashes(arguments)
    if "--verbose" in given or "-v" in given:
        traceback.print_exception(error)
    fault = OperationFailed(
        f"a fault in dasctl itself: {type(error).__name__}: {error}",
        hint="the same command with --verbose shows where; please report it with that",
    )
    return _report(fault, arguments, session)


def _before_dashes(arguments: Sequence[str]) -> list[str]:
    words = list(arguments)
    return words[: words.index("--")] if "--" in words else words


def _command_of(arguments: Sequence[str]) -> str:
    """The command's name, for a message; the first word that can be one."""
    from dasctl.cli.app import PANELS

    known = {name for _, commands in PANELS for name in commands}
    return next((word for word in arguments if word in known), "dasctl")


def _close_output() -> None:
    """Flush what is left; a reader that has gone away is no failure."""
    from dasctl.cli.streams import quietly

    quietly(sys.stdout.flush)
    quietly(sys.stderr.flush)


if __name__ == "__main__":
    main()

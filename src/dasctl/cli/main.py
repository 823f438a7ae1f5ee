"""The entry point: streams, the fast way of `--version`, and the one door for errors.

What lives here: what must hold for every command line. What must not: commands.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from dasctl import __version__
from dasctl.cli.streams import complain, delivered, flushed, standard
from dasctl.errors import DasctlError, ExitCode

if TYPE_CHECKING:
    from dasctl.cli.call import Elsewhere, Runner

AT_WORK = "dasctl-at-work"  # as adapters/threads.py names them, which is not imported for this
COMPLETION = "_DASCTL_COMPLETE"  # set by the shell's completion function


def main() -> None:
    """Run the command line of this process, and end it with the exit code."""
    # Ctrl-C while modules are imported or results written needs no words; the operation itself catches it (`wiring.py`).
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dasctl.cli.quick_modules import import_late

    import_late()  # before anything imports what it leaves for later
    from dasctl.cli.quick_classes import compile_late

    compile_late()
    sys.stdout, sys.stderr = out, err = standard(sys.stdout), standard(sys.stderr)
    for stream in (out, err):
        # A name that the terminal's encoding lacks is shown escaped; it is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:], out=out, err=err)
    if not flushed(out, err):
        code = code or int(ExitCode.FAILED)
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process. Taking a thousand modules apart takes 20 ms; nothing is left to be written, unless a thread runs on
    that nobody has left alone (`adapters/threads.py`), or somebody counts lines.
    """
    alone = len(sys._current_frames()) == 1 or _left_alone()
    if sys.gettrace() is None and sys.getprofile() is None and alone:
        os._exit(code)
    sys.exit(code)


def _left_alone() -> bool:
    """Whether threads of a command that was interrupted are still at work."""
    threads = sys.modules.get("threading")
    return threads is not None and any(
        thread.name.startswith(AT_WORK) for thread in threads.enumerate() if thread.is_alive()
    )


def run(
    arguments: Sequence[str],
    *,
    out: TextIO,
    err: TextIO,
    runner: Runner | None = None,
    elsewhere: Elsewhere | None = None,
) -> int:
    """Carry out one command line; returns its exit code. Help and completion go to the process's own output.

    `runner`, `elsewhere`: who carries it out here, or on another machine; None: the real ones.
    """
    if list(arguments) == ["--version"] and COMPLETION not in os.environ:
        # Before anything is imported.
        arrived = delivered(lambda: out.write(f"dasctl {__version__}\n"), err)
        return int(ExitCode.OK if arrived else ExitCode.FAILED)

    from dasctl.cli.call import run_elsewhere, run_wired
    from dasctl.cli.quick import recognised
    from dasctl.cli.session import Session

    session = Session(runner=runner or run_wired, out=out, err=err, elsewhere=elsewhere or run_elsewhere)
    try:
        plain = recognised(arguments) if COMPLETION not in os.environ else None
        return session.run(*plain) if plain is not None else _run_commands(arguments, session)
    except DasctlError as error:
        return _report(error, arguments, session)
    except KeyboardInterrupt:
        from dasctl.errors import OperationFailed

        return _report(OperationFailed("interrupted"), arguments, session)
    except BrokenPipeError:
        return int(ExitCode.FAILED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO) and error.filename is None:
            complain(f"dasctl: the output could not be written: {error.strerror}\n", err)  # a help page
            return int(ExitCode.FAILED)
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
    from dasctl.cli.call import Settings
    from dasctl.cli.session import Session
    from dasctl.core.outcome import failed

    assert isinstance(session, Session)
    given = _before_dashes(arguments)
    # The options could not be parsed, so this looks for the word: whoever asks for JSON gets JSON.
    settings = Settings(json="--json" in given)
    return session.report(failed(_command_of(given), error), settings)


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


if __name__ == "__main__":
    main()

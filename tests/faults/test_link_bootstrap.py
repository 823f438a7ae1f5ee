"""The packed helper starts everywhere: under each shell, without matching code, from a zip, and says who is too old."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dasctl
from dasctl.adapters import bootstrap
from dasctl.adapters.node_command import COMMAND, PRELUDE
from tests.contracts.shipping import payload_with, standin_payload

REQUEST = b'{"op":"ping"}\n'


def started(payload: bytes, command: list[str], request: bytes = REQUEST) -> tuple[list[bytes], str]:
    """Lines of output, and standard error."""
    done = subprocess.run(command, input=payload + request, capture_output=True, timeout=60, check=False)
    return done.stdout.split(b"\n"), done.stderr.decode()


def python(path: str) -> list[str]:
    return [path, "-I", "-S", "-X", "utf8", "-c", PRELUDE]


def test_prelude_passes_every_login_shell() -> None:
    assert not set(PRELUDE) & set("\n\\!$'\"`")


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "csh", "tcsh", "fish", "zsh"])
def test_starts_under_shell(shell: str) -> None:
    path = shutil.which(shell)
    if path is None and shell == "zsh":
        return  # not among the shells that the tests need
    assert path is not None, f"{shell} is needed: apt-get install {shell}"
    lines, _ = started(standin_payload(), [path, "-c", COMMAND])
    assert lines[1] == b"DASCTL-LINK-1"
    assert lines[3] == b'{"reply": "ping"}'


@pytest.mark.parametrize("compiled", [True, False], ids=["code", "sources"])
def test_starts_with_and_without_code(compiled: bool) -> None:
    lines, errors = started(standin_payload(compiled=compiled), python(sys.executable))
    assert lines[3] == b'{"reply": "ping"}'
    assert errors == ""


@pytest.mark.parametrize("compiled", [True, False], ids=["code", "sources"])
def test_traceback_shows_the_helpers_lines(compiled: bool) -> None:
    source = b"def main(stdin, stdout):\n    raise RuntimeError('boom')\n"
    _, errors = started(payload_with(source, compiled=compiled), python(sys.executable))
    assert 'File "dasctl/remote/main.py", line 2, in main' in errors
    assert str(Path(dasctl.__file__).parent) not in errors


def test_real_helper_is_complete() -> None:
    lines, errors = started(bootstrap.payload(), python(sys.executable), b"")
    assert lines[1] == b"DASCTL-LINK-1"
    assert b'"greeting":1' in lines[2]
    assert errors == ""


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_too_old(version: str) -> None:
    program = bootstrap.payload().split(b"\n", 1)[1]
    old = b"import sys\nsys.version_info = (%s, 1)\n" % version.replace(".", ", ").encode()
    size = int(bootstrap.payload().split(b"\n", 1)[0])
    lines, errors = started(b"%d\n" % (size + len(old)) + old + program, python(sys.executable))
    assert lines[2].startswith(b'{"greeting":1,"python":[%s,1],' % version.replace(".", ",").encode())
    assert errors == ""


def test_packs_from_a_zip(tmp_path: Path) -> None:
    archive = tmp_path / "dasctl.zip"
    root = Path(dasctl.__file__).parent
    with zipfile.ZipFile(archive, "w") as file:
        for path in root.rglob("*.py"):
            file.write(path, Path("dasctl") / path.relative_to(root))
    code = (
        "import sys; from dasctl.adapters import bootstrap; assert '.zip' in bootstrap.__file__; "
        "sys.stdout.buffer.write(bootstrap.payload())"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(archive), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    lines, _ = started(made.stdout, python(sys.executable), b"")
    assert lines[1] == b"DASCTL-LINK-1"

"""A scan by a process of its own finds what one in this process finds, and whatever happens to it, `scan` answers.

Each case runs in a process of its own: where other threads run, as they may here, nothing is forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEGINNING = """
import os, signal, sys, time
from pathlib import Path
from dasctl.adapters import tree_ahead
from dasctl.adapters.tree import FolderRepository
from dasctl.core.domain import Domain, Settings
from dasctl.errors import RepositoryError

root = Path(sys.argv[1])
folder = root / "docroot"
folder.mkdir(parents=True)
(root / "config").mkdir()
(root / "config" / "domain.yaml").write_text("x")
for number in range(2000):
    file = folder / f"a file with a rather long name, number {number}"
    file.write_bytes(b"%d" % number)
    os.utime(file, (1_700_000_000, 1_700_000_000))
(folder / "link").symlink_to("/etc/passwd")
os.mkfifo(folder / "pipe")
domain = Domain(format=1, domain=Settings(name="shop", id="6b1f2c1e-0d1a-4c53-9d0c-2f1f0a7c9b11"))
time.sleep(0.1)  # files just made are not believed
FolderRepository(root).scan(domain, criterion="modtime")
assert (root / ".dasctl" / "index").stat().st_size > tree_ahead.WORTH
os.sched_getaffinity = lambda pid: {0, 1}
repository, plain = FolderRepository(root), FolderRepository(root)

def ahead():
    repository.scan_ahead(domain, criterion="modtime")
    assert repository._ahead is not None
    return repository._ahead[2]

def same():
    found, expected = repository.scan(domain, criterion="modtime"), plain.scan(domain, criterion="modtime")
    assert found == expected and found.state == expected.state and len(found.problems) == 2, found.problems
    return found

def no_children():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    raise AssertionError("a child is left")
"""

CASES = {
    "unchanged": "ahead(); same()",
    "changed": "(folder / 'new').write_bytes(b'new'); ahead(); assert b'new' in same().areas['docroot'].data",
    "killed": "os.kill(ahead()._pid, signal.SIGKILL); same()",
    "stopped half way": "one = ahead(); one.drop(); repository._ahead = None; same()",
    "another question": "ahead(); assert repository.scan(domain, criterion='hash') == plain.scan(domain, criterion='hash')",
    "asked twice": "ahead(); ahead(); same(); same()",
    "the same error": """
(root / 'lib').symlink_to('docroot')
ahead()
for one in (repository, plain):
    try:
        one.scan(domain, criterion='modtime')
    except RepositoryError as error:
        assert 'lib is a symbolic link' in str(error)
    else:
        raise AssertionError('no error')
""",
    "locks stay ours": """
import fcntl
held = open(root / 'lock', 'w')
fcntl.flock(held, fcntl.LOCK_EX)
os.kill(ahead()._pid, signal.SIGSTOP)
time.sleep(0.5)
pid = repository._ahead[2]._pid
held.close()  # as a kill of this process would: the child, wherever it stands, does not hold it
other = open(root / 'lock', 'w')
late = time.time() + 20
while True:
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        os.kill(pid, signal.SIGCONT)  # it was stopped before it had closed what is ours
        assert time.time() < late
        time.sleep(0.05)
os.kill(pid, signal.SIGCONT)
same()
""",
}


@pytest.mark.parametrize("case", CASES)
def test_scan_ahead(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{BEGINNING}\n{CASES[case]}\nno_children()\n", str(tmp_path / "shop")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_nothing_is_forked_beside_threads(tmp_path: Path) -> None:
    code = """
import threading
thread = threading.Thread(target=time.sleep, args=(5,), daemon=True)
thread.start()
repository.scan_ahead(domain, criterion="modtime")
assert repository._ahead is None
same()
"""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + code, str(tmp_path / "shop")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_output_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """Whoever reads it to its end does not wait for the scan, which may stand still on a dead file system."""
    program = """
import os, signal, sys, time
from dasctl.adapters import tree_ahead
os.sched_getaffinity = lambda pid: {0, 1}
index = os.fsencode(sys.argv[1]) + b"/index"
open(index, "wb").write(bytes(tree_ahead.WORTH))
ahead = tree_ahead.begin(index, lambda: time.sleep(600))
print(ahead._pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        child = int(running.stdout.readline())
        try:
            running.communicate(timeout=60)
        finally:
            os.kill(child, signal.SIGKILL)

"""`--das`: command lines that run on the machine of their DAS, over a real sshd, from a user who has no domain."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Run, make_cluster, tree_of
from tests.system.sshd import Sshd, SshSetting
from tests.system.terminal import on_terminal

DASCTL = (sys.executable, "-m", "dasctl")
LIMIT_S = 120.0


@dataclass(kw_only=True)
class Laptop:
    """A machine without a domain; `server` is the DAS's sshd, and the domain lies in the home of its user."""

    folder: Path
    server: Sshd
    cluster: Cluster
    ssh: SshSetting

    @property
    def das(self) -> str:
        return f"{self.server.user}@127.0.0.1:{self.server.port}:{self.server.home}/shop"

    @property
    def words(self) -> list[str]:
        return [*DASCTL, "--das", self.das, "--das-command", f"{sys.executable} -m dasctl"]

    def run(self, *words: str, **environment: str) -> Run:
        done = subprocess.run(
            [*self.words, *words], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="surrogateescape", timeout=LIMIT_S, cwd=self.folder,
        )  # fmt: skip
        return Run(code=done.returncode, out=done.stdout, err=done.stderr)

    def children(self) -> list[int]:
        """The processes of commands that run on the DAS for somebody elsewhere."""
        mark = b"DASCTL_CALLER={"
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                text = path.read_bytes()
            except OSError:
                continue
            if mark in text and f"HOME={self.server.home}\0".encode() in text:
                found.append(int(path.parent.name))
        return found

    def left(self) -> list[str]:
        """What commands left behind in the DAS's folder of temporary files."""
        return [path.name for path in (self.server.home / "tmp").glob("dasctl-caller-*")]


@pytest.fixture
def laptop(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Laptop:
    # Who has dasctl: the tests' own user.
    server = sshd_factory("das", user=pwd.getpwuid(os.getuid()).pw_name)
    (server.home / "tmp").mkdir()
    node = sshd_factory("n1")
    cluster = make_cluster(server.home, ssh, [node])
    _log_in_with(server, ssh)
    key = Path(shutil.copy(ssh.key, server.home / "node-key"))
    (server.home / ".ssh").mkdir()
    (server.home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{node.port} {ssh.host_public}\n")
    cluster.edit_yaml(str(ssh.key), str(key))
    folder = tmp_path / "laptop"
    folder.mkdir()
    return Laptop(folder=folder, server=server, cluster=cluster, ssh=ssh)


def _log_in_with(server: Sshd, ssh: SshSetting) -> None:
    """The user's own key, and a folder of temporary files that belongs to this test alone."""
    with ssh.config.open("a") as file:
        file.write(f"IdentityFile {ssh.key}\n")
    server.stop()
    server.options = {"SetEnv": f"HOME={server.home} TMPDIR={server.home}/tmp"}
    server.start()


def test_output_exit_code_and_who_asked(laptop: Laptop) -> None:
    run = laptop.run("--json", "sync-domain")
    assert run.code == 0, str(run)
    assert run.json["results"][0]["status"] == "synchronised"
    assert run.err == ""
    (revision,) = laptop.run("--json", "history").json["results"]
    assert revision["who"].endswith(f" via {laptop.server.user}")
    assert "@" in revision["who"]
    assert revision["command"] == "sync-domain"
    wrong = laptop.run("--json", "sync-instance", "nobody")
    assert wrong.code == 2
    assert wrong.json["exit_code"] == 2
    assert laptop.left() == []


def test_the_environment_names_the_das_and_domain_wins_over_it(laptop: Laptop) -> None:
    there = {"DASCTL_DAS": laptop.das, "DASCTL_DAS_COMMAND": f"{sys.executable} -m dasctl"}
    done = subprocess.run(
        [*DASCTL, "--terse", "list-instances", "web"], env={**os.environ, **there}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=LIMIT_S, cwd=laptop.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("web1\tweb\tn1\t")
    here = subprocess.run(
        [*DASCTL, "--domain", "nothing", "list-instances"], env={**os.environ, **there}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=LIMIT_S, cwd=laptop.folder,
    )  # fmt: skip
    assert here.returncode == 2
    assert "is not a domain" in here.stderr


def test_words_arrive_unharmed(laptop: Laptop) -> None:
    odd = "docroot/" + os.fsdecode(b"a b\nc'd\"e$HOME `id` \\ \xff \xe2\x82\xac")
    run = laptop.run("--json", "explain", odd)
    assert run.code == 2
    assert f"there is no {odd}" in run.json["error"]["message"], str(run)
    run = laptop.run("--json", "explain", "--", "-docroot")
    assert "there is no -docroot" in run.json["error"]["message"]


def test_a_file_comes_back(laptop: Laptop) -> None:
    run = laptop.run("--json", "export-sync-bundle", "web", "out é.bundle")
    assert run.code == 0, str(run)
    file = laptop.folder / "out é.bundle"
    assert run.json["results"][0]["file"] == "out é.bundle"
    assert run.json["results"][0]["size"] == file.stat().st_size
    assert [path.name for path in laptop.folder.iterdir()] == [file.name]
    assert laptop.left() == []
    assert laptop.run("export-sync-bundle", "web", "nowhere/x").code == 2
    # Where nothing says where to: into the folder in which the command was typed.
    assert laptop.run("start-cluster", "web").code == 0
    assert laptop.run("collect-log-files", "web").code == 0
    (logs,) = laptop.folder.glob("shop-logs-*.tar.gz")
    again = laptop.run("collect-log-files", "web", "--to", logs.name)
    assert (again.code, "--force" in again.err) == (2, True)
    assert laptop.run("collect-log-files", "web", "--to", logs.name, "--force").code == 0
    assert laptop.run("stop-cluster", "web", "--kill").code == 0
    assert not list(laptop.server.home.glob("*.tar.gz"))


def test_a_file_goes_there(laptop: Laptop) -> None:
    assert laptop.run("export-sync-bundle", "web", "b.bundle").code == 0
    run = laptop.run(
        "--json", "import-sync-bundle", "--node-dir", str(laptop.cluster.folder("web1").parent), "b.bundle"
    )
    assert run.code == 0, str(run)
    assert run.json["results"][0]["instance"] == "web1"
    damaged = laptop.folder / "damaged"
    damaged.write_bytes(b"no bundle")
    run = laptop.run("--json", "import-sync-bundle", "damaged")
    assert run.code != 0
    assert "dasctl-caller" not in run.out
    assert laptop.left() == []


def test_the_live_view_has_a_terminal(laptop: Laptop) -> None:
    code, shown = on_terminal([*laptop.words, "sync-domain"], [], env=os.environ, cwd=laptop.folder)
    assert code == 0, shown
    assert "\x1b[" in shown
    assert "synchronised" in shown


def test_somebody_at_a_terminal_is_asked_about_a_new_host_key(laptop: Laptop) -> None:
    known = laptop.ssh.known_hosts.read_text()
    laptop.ssh.known_hosts.write_text("# no newline at its end")
    words = [*laptop.words, "list-nodes"]
    code, shown = on_terminal(words, [("Go on?", "n")], env=os.environ, cwd=laptop.folder)
    assert (code, "SHA256:" in shown) == (4, True)
    code, shown = on_terminal(words, [("Go on?", "y")], env=os.environ, cwd=laptop.folder)
    assert code == 0, shown
    lines = laptop.ssh.known_hosts.read_text().splitlines()
    assert lines[1:] == [line for line in known.splitlines() if f":{laptop.server.port} " in line][:1]
    code, shown = on_terminal(words, [], env=os.environ, cwd=laptop.folder)
    assert code == 0
    assert "Go on?" not in shown


@contextmanager
def waiting(laptop: Laptop) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for the domain's lock on the DAS."""
    assert laptop.run("sync-domain").code == 0
    with (laptop.server.home / "shop/.dasctl/lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [*laptop.words, "--json", "--wait", "100", "sync-domain"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=laptop.folder,
        )  # fmt: skip
        try:
            until(lambda: any(is_at_work(pid) for pid in laptop.children()))
            yield process
        finally:
            process.kill()
            process.wait()


def is_at_work(pid: int) -> bool:
    """Whether the command catches SIGTERM: from then on it ends with an outcome."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_reaches_the_command(laptop: Laptop) -> None:
    with waiting(laptop) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, out + err
    assert '"interrupted"' in out
    assert laptop.left() == []


def test_a_broken_connection_ends_the_command_and_leaves_nothing(laptop: Laptop) -> None:
    with waiting(laptop) as process:
        laptop.server.reset_connections()
        out, err = process.communicate(timeout=LIMIT_S)
        until(lambda: not laptop.children())
    assert process.returncode == 4, out + err
    assert "in the middle" in out
    assert "dasctl history" in out
    until(lambda: not laptop.left())


def test_kill_9_of_the_far_end_ends_the_command_there(laptop: Laptop) -> None:
    with waiting(laptop) as process:
        (command,) = laptop.children()
        served = int(Path(f"/proc/{command}/stat").read_text().rpartition(")")[2].split()[1])
        assert b"serve-caller" in Path(f"/proc/{served}/cmdline").read_bytes()
        os.kill(served, signal.SIGKILL)
        out, err = process.communicate(timeout=LIMIT_S)
        until(lambda: not laptop.children())
    assert process.returncode == 4, out + err
    assert "in the middle" in out
    assert laptop.run("sync-domain").code == 0  # and it holds nothing
    assert laptop.left() == []


def test_a_folder_is_deployed_as_it_is(laptop: Laptop) -> None:
    build = laptop.folder / "build dir"
    shutil.copytree(laptop.cluster.root / "applications/hello", build / "hello")
    for name in (b"a b", b"new\nline", b"not-utf8-\xff", b"-x", b"sub/deep"):
        file = build / "hello" / os.fsdecode(name)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(name)
        os.utime(file, ns=(981173106_789012345, 981173106_789012345))
    (build / "hello/link").symlink_to("a b")
    run = laptop.run("--json", "deploy", "build dir/hello", "--target", "web", "--force")
    assert run.code == 0, str(run)
    there = laptop.cluster.folder("web1") / "applications/hello"
    assert tree_of(there) == tree_of(build / "hello")
    (row,) = laptop.run("--json", "list-applications", "--long").json["results"]
    assert row["from"] == "build dir/hello"
    assert " via " in row["who"]
    (build / "hello/pipe").touch()
    (build / "hello/pipe").unlink()
    os.mkfifo(build / "hello/pipe")
    run = laptop.run("--json", "deploy", "build dir/hello", "--target", "web", "--force")
    assert run.code == 1
    assert "pipe is no file, folder or link" in run.json["error"]["message"]
    assert laptop.run("deploy", "nowhere.war", "--target", "web").code == 2
    until(lambda: not laptop.left())


def test_a_key_that_can_do_nothing_else(laptop: Laptop) -> None:
    own = laptop.server.home / "shop"
    keys = laptop.server.folder / "authorized_keys"
    command = f"{sys.executable} -m dasctl --domain {own} serve-caller"
    keys.write_text(f'command="{command}",restrict {laptop.ssh.public}')
    assert laptop.run("--terse", "list-instances", "web").out.startswith("web1\t")
    code, shown = on_terminal([*laptop.words, "sync-domain"], [], env=os.environ, cwd=laptop.folder)
    assert code == 0
    assert "\x1b[" in shown
    done = subprocess.run(
        [*DASCTL, "--das", f"{laptop.das}/other", "list-instances"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"serves the domain {own}" in done.stderr


def test_what_the_login_lacks_is_told(laptop: Laptop) -> None:
    def fails(*words: str, code: int = 4) -> str:
        done = subprocess.run(
            [*DASCTL, *words, "list-nodes"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT_S, cwd=laptop.folder,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "no-such-command" in fails("--das", laptop.das, "--das-command", "no-such-command", code=1)
    laptop.ssh.known_hosts.write_text("")
    assert "SHA256:" in fails("--das", laptop.das)
    laptop.server.stop()
    assert "refused" in fails("--das", laptop.das)
    assert "HOST:DIR" in fails("--das", "das.example.com", code=2)
    assert "contradict" in fails("--das", "das:x", "--domain", "y", code=2)

"""Commands, logs and dumps over real OpenSSH: logs are rotated, commands interrupted, archives opened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting

LIMIT_S = 60.0


@pytest.fixture
def shop(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    """Two instances, synchronised, whose servers are not started."""
    more = "ready: {command: 'true'}\ndump: echo dumping $DASCTL_PID; ls -l /proc/$DASCTL_PID/exe"
    cluster = make_cluster(
        tmp_path, ssh, [sshd_factory(), sshd_factory()], start="echo serving; exec sleep 1000", more=more
    )
    run = cluster.run("sync-cluster", "web")
    assert run.code == 0, str(run)
    return cluster


class Following:
    """`dasctl WORDS` while it runs, and the lines that it has printed so far."""

    def __init__(self, cluster: Cluster, *words: str) -> None:
        self.process = cluster.start(*words)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def sees(self, line: str) -> None:
        until = time.monotonic() + LIMIT_S
        while line not in self.lines:
            assert time.monotonic() < until, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Interrupt it as Ctrl-C does; exit code and standard error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stderr is not None
        assert self.process.stdout is not None
        with self.process.stderr, self.process.stdout:
            return code, self.process.stderr.read()


@pytest.fixture
def following(shop: Cluster) -> Iterator[Callable[..., Following]]:
    begun: list[Following] = []

    def begin(*words: str) -> Following:
        begun.append(Following(shop, *words))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.end()


def helpers_gone(pids: set[int]) -> None:
    until = time.monotonic() + LIMIT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def log_of(shop: Cluster, name: str, file: str = "server.log") -> Path:
    return shop.folder(name) / "logs" / file


def add(shop: Cluster, name: str, text: str) -> None:
    with open(log_of(shop, name), "a") as file:
        file.write(text)


def test_logs_are_followed_through_rotation_until_ctrl_c(
    shop: Cluster, following: Callable[..., Following]
) -> None:
    add(shop, "web1", "begun\n")
    tail = following("tail-log", "web", "-f")
    tail.sees("web1 | begun")
    for name in ("web1", "web2"):
        add(shop, name, f"{name} speaks\n")
    tail.sees("web2 | web2 speaks")
    log_of(shop, "web1").rename(log_of(shop, "web1", "server.log.1"))
    with open(log_of(shop, "web1", "server.log.1"), "a") as old:
        old.write("to the old one\n")
    add(shop, "web1", "to the new one\n")
    tail.sees("web1 | to the old one")
    tail.sees("web1 | to the new one")
    os.truncate(log_of(shop, "web2"), 0)
    add(shop, "web2", "emptied\n")
    tail.sees("web2 | emptied")
    code, said = tail.end()
    assert (code, said) == (0, "dasctl: web2: there is no such file in logs/ yet; it is waited for\n")
    assert len(tail.lines) == len(set(tail.lines)), "nothing is shown twice"


def test_a_node_that_dies_is_told_and_the_other_goes_on(
    shop: Cluster, following: Callable[..., Following]
) -> None:
    add(shop, "web1", "one\n")
    add(shop, "web2", "two\n")
    tail = following("tail-log", "web", "-f")
    tail.sees("web2 | two")
    shop.nodes["n1"].stop()
    add(shop, "web2", "three\n")
    tail.sees("web2 | three")
    code, said = tail.end()
    assert code == 3
    assert "node n1" in said
    assert "its logs are followed no more" in said


def test_ctrl_c_ends_what_runs_on_the_nodes(shop: Cluster, following: Callable[..., Following]) -> None:
    told = [shop.folder(name) / "run" / "pids" for name in ("web1", "web2")]
    run = following("run", "web", "--", "sleep 1000 & echo $! >run/pids; echo $$ >>run/pids; wait")
    until = time.monotonic() + LIMIT_S
    while not all(path.exists() and len(path.read_text().split()) == 2 for path in told):
        assert time.monotonic() < until
        time.sleep(0.02)
    pids = {int(pid) for path in told for pid in path.read_text().split()}
    code, said = run.end()
    assert code == 255
    assert "interrupted" in said
    helpers_gone(pids)


def test_run_keeps_words_codes_and_bytes(shop: Cluster) -> None:
    (shop.folder("web1") / "run" / "a b").write_text("x")
    assert shop.run("run", "web1", "--", "ls", "run/a b").out == "run/a b\n"
    run = shop.run("run", "web", "--", 'ls "run/a b"')
    assert run.code == 2, str(run)
    assert "web1 (1 line)\n  | run/a b\n" in run.out
    assert "web2 (1 line), exit status 2\n  ! " in run.out
    assert shop.run("run", "web", "--", "echo same").out == "web[1-2] said the same (1 line)\n  | same\n"
    assert shop.run("run", "web1", "--", r"printf '\377\000'").out == "\udcff\0"
    late = shop.run("run", "web1", "--timeout", "1", "--", "sleep 100")
    assert late.code == 124, str(late)
    much = shop.run("run", "web1", "--", "head -c 200000000 /dev/zero | tr '\\0' 'a'; echo; echo end")
    assert much.code == 0
    assert len(much.out) < 300_000
    assert much.out.endswith("\nend\n")


def test_logs_are_collected_and_servers_dumped_into_archives(shop: Cluster, tmp_path: Path) -> None:
    assert shop.run("start-cluster", "web").code == 0
    try:
        odd = os.path.join(os.fsencode(shop.folder("web2")), b"logs/\xff odd\n.log")
        Path(os.fsdecode(odd)).write_text("ERROR odd\n")
        os.utime(odd, ns=(0, 1_600_000_000_123_456_789))
        run = shop.run("collect-log-files", "web", "--to", str(tmp_path / "logs.tar.gz"))
        assert run.code == 0, str(run)
        out = tmp_path / "out"
        out.mkdir()
        subprocess.run(["tar", "xzf", str(tmp_path / "logs.tar.gz"), "-C", str(out)], check=True)
        assert (out / "web1/logs/server.log").read_text() == "serving\n"
        assert (
            os.stat(os.path.join(os.fsencode(out), b"web2/logs/\xff odd\n.log")).st_mtime_ns
            == 1_600_000_000_123_456_789
        )
        run = shop.json(
            "collect-log-files", "web", "--grep", "ERROR", "--to", str(tmp_path / "errors.tar.gz")
        )
        assert (run.json["files"], run.json["bytes"]) == (1, 10)
        assert shop.run("collect-log-files", "web", "--to", str(tmp_path / "logs.tar.gz")).code == 2
        run = shop.run("dump", "web", "--to", str(tmp_path / "dump.tar.gz"))
        assert run.code == 0, str(run)
        with tarfile.open(tmp_path / "dump.tar.gz") as tar:
            document = json.loads(tar.extractfile("web1/dump.json").read())  # type: ignore[union-attr]
        pid = document["record"]["pid"]
        assert document["state"] == "running"
        assert document["command"]["out"].startswith(f"dumping {pid}\n")
        assert [row["pid"] for row in document["processes"]] == [pid]
        assert abs(document["clock_difference_s"]) < 30
    finally:
        shop.run("stop-cluster", "web", "--kill")

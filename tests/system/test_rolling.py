"""Rolling restarts of real servers on real nodes, behind a real nginx: docs/how-to/rolling-restart.md, word for word."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.balancer import NGINX, Balancer, Clients, block, replaced
from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting, free_port, make_key

LONG_S = 60.0  # a limit for machines under load; nothing here waits for it
NAMES = ("web1", "web2", "web3")
SERVER = """\
import http.server, os, signal, sys, threading, time
from pathlib import Path
version = Path("lib/version").read_text().strip()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{version} {os.environ['DASCTL_INSTANCE']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.3)
        self.do_GET()
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Page)
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
server.serve_forever()
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Three servers and nginx before them."""

    cluster: Cluster
    balancer: Balancer
    ports: dict[str, int]

    def without_draining(self) -> None:
        text = self.cluster.yaml().read_text()
        begin, end = text.index("    drain:"), text.index("    properties:")
        self.cluster.yaml().write_text(text[:begin] + text[end:])

    def version(self, text: str) -> None:
        self.cluster.write("lib/version", text)


@pytest.fixture
def balancer(sshd_factory: Callable[..., Sshd]) -> Balancer:
    """nginx's machine, with nothing on it."""
    assert Path(NGINX).exists(), "nginx is needed: apt-get install nginx-light"
    return Balancer(server=sshd_factory("lb"))


@pytest.fixture
def setting(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd], balancer: Balancer
) -> Iterator[Setting]:
    nodes = [sshd_factory(f"n{number}") for number in (1, 2, 3)]
    keys = [upstream_key(node, balancer, ssh) for node in nodes]
    cluster = make_cluster(
        tmp_path, ssh, nodes, start="exec python3 applications/hello/serve.py ${http.port}",
        more=asides(balancer) + f"\nproperties:\n  {block('balancer:').strip()}".replace("lb.example.com", "127.0.0.1"),
    )  # fmt: skip
    cluster.write("applications/hello/serve.py", SERVER)
    made = Setting(cluster=cluster, balancer=balancer, ports=ports_in(cluster))
    made.version("one")
    balancer.set_up(made.ports, keys)
    cluster.json("start-cluster", "web")
    with balancer.running():
        yield made
    cluster.run("stop-cluster", "web", "--kill")


def upstream_key(node: Sshd, balancer: Balancer, ssh: SshSetting) -> str:
    """A key of the node's user that can do nothing else; the host key of nginx's machine is known there."""
    folder = node.home / ".ssh"
    folder.mkdir(mode=0o700)
    make_key(folder / "upstream")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{balancer.server.port} {ssh.host_public}\n")
    if os.getuid() == 0:
        entry = pwd.getpwnam(node.user)
        for path in (folder, *folder.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    return (folder / "upstream.pub").read_text().strip()


def asides(balancer: Balancer) -> str:
    """The page's drain and undrain; ssh is told of another port, and of the node's own known hosts."""
    server = balancer.server
    return replaced(
        block("drain:").rstrip(),
        ("ssh -i", f"ssh -p {server.port} -o UserKnownHostsFile=$HOME/.ssh/known_hosts -i"),
        ("root@", f"{server.user}@"),
    )  # fmt: skip


def ports_in(cluster: Cluster) -> dict[str, int]:
    """Instance to the port of its server."""
    rows = cluster.json("get", "instances.*.property.http.port").json["results"]
    return {row["name"].split(".")[1]: int(row["value"]) for row in rows}


def test_no_request_is_refused_or_fails_during_a_rolling_restart(setting: Setting) -> None:
    clients, tried = watched(setting, "two")
    assert clients.failures == []
    # Not even nginx met a server that was not there: each request went to one server, which answered it.
    assert [line for line in tried if not line.startswith("200 ") or "," in line] == []
    assert len(tried) >= clients.answers > 100
    assert {f"one {name}" for name in NAMES} | {f"two {name}" for name in NAMES} == clients.bodies
    assert all(" down;" not in line for line in setting.balancer.state().values())

    # The counter-proof: without drain there is something to be found.
    setting.without_draining()
    _, tried = watched(setting, "three")
    assert [line for line in tried if not line.startswith("200 ") or "," in line] != []


def watched(setting: Setting, version: str) -> tuple[Clients, list[str]]:
    """Roll out another version: what clients saw, and what nginx did."""
    setting.version(version)
    setting.balancer.tried()
    clients = Clients(port=setting.balancer.port)
    with clients.asking():
        run = setting.cluster.json("sync-cluster", "web", "--restart", "--rolling")
    assert {row["status"] for row in run.json["results"]} == {"restarted"}
    return clients, setting.balancer.tried()


def test_the_script_takes_out_no_last_server_and_nothing_else(balancer: Balancer) -> None:
    def upstream(*words: str, **variables: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(balancer.script), *words], capture_output=True, text=True, timeout=LONG_S,
            env={"PATH": os.environ["PATH"], **variables},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    balancer.set_up({name: free_port() for name in NAMES}, [])
    with balancer.running():
        assert upstream("drain", "web1") == (0, "")
        assert upstream(SSH_ORIGINAL_COMMAND="drain web2") == (0, "")
        assert upstream("drain", "web2") == (0, "")  # again
        assert upstream("drain", "web3") == (1, "web3 is the last server that nginx can send to\n")
        assert [" down;" in line for line in balancer.state().values()] == [True, True, False]
        assert upstream("undrain", "web1")[0] == upstream("undrain", "web2")[0] == 0
        assert upstream("drain", "web9")[0] == 1
        for words in (
            "",
            "drain",
            "drain ../web1",
            "drain .lock",
            "drain web1 web2",
            "drain *",
            "stop web1",
            "drain web1;id",
        ):
            assert upstream(SSH_ORIGINAL_COMMAND=words)[0] == 2, words
        assert all(" down;" not in line for line in balancer.state().values())


def test_a_killed_command_is_resumed_and_every_server_is_back(setting: Setting) -> None:
    """kill -9 of dasctl while the first server is out."""
    setting.version("two")
    process = setting.cluster.start("restart-cluster", "web", "--rolling")
    deadline = time.monotonic() + LONG_S
    while " down;" not in setting.balancer.state()["web1"]:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = setting.cluster.json("restart-cluster", "web", "--resume")
    assert {row["revision"] for row in run.json["results"]} == {2}
    assert all(" down;" not in line for line in setting.balancer.state().values())
    states = {row["state"] for row in setting.cluster.json("list-instances").json["results"]}
    assert states == {"running"}

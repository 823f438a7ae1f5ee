"""A real nginx in front of a cluster, set up as docs/how-to/rolling-restart.md says, and clients that never stop asking."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.sshd import Sshd, free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "rolling-restart.md"
NGINX = "/usr/sbin/nginx"
START_S = 20.0
BREATH_S = 0.005  # between two requests of a client: the machine has others to serve

CONF = """\
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr notice;
{shutdown}
events {{}}
http {{
    log_format tried '$status $request_method $upstream_addr | $upstream_status';
    access_log {folder}/access.log tried;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def block(beginning: str) -> str:
    """The indented block of the page whose first line begins so, as somebody copies it."""
    for found in re.finditer(r"(?m)(?:^    .*\n|^\n(?=    ))+", PAGE.read_text("utf-8")):
        lines = [line[4:] for line in found[0].strip("\n").split("\n")]
        if lines[0].startswith(beginning):
            return "\n".join(lines) + "\n"
    raise AssertionError(f"the page has no block that begins with {beginning!r}")


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """`text` with this machine's own folders and ports; each of them must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@dataclass(kw_only=True)
class Balancer:
    """The machine of nginx: a folder of its own behind the sshd `server`, everything as the user of that."""

    server: Sshd
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.server.home / "lb"

    @property
    def script(self) -> Path:
        return self.folder / "upstream"

    def set_up(self, ports: dict[str, int], keys: Sequence[str]) -> None:
        """What the page says for this machine: the servers' files, the site, the script, the keys."""
        servers = self.folder / "web"
        servers.mkdir(parents=True)
        for name, port in ports.items():
            line = replaced(block("server 192.0.2.11"), ("192.0.2.11:8081", f"127.0.0.1:{port}"))
            (servers / f"{name}.conf").write_text(line)
        site = replaced(
            block("upstream web {"), ("/etc/nginx/web", str(servers)), ("listen 80", f"listen 127.0.0.1:{self.port}")
        )  # fmt: skip
        conf = CONF.format(folder=self.folder, shutdown=block("worker_shutdown_timeout"), site=site)
        (self.folder / "nginx.conf").write_text(conf)
        self.script.write_text(
            replaced(
                block("#!/bin/sh"), ("folder=/etc/nginx/web", f"folder={servers}"),
                ("pid=/run/nginx.pid", f"pid={self.folder}/nginx.pid"),
                ("nginx=/usr/sbin/nginx", f'nginx="{NGINX} -e /dev/null -c {self.folder}/nginx.conf"'),
            )
        )  # fmt: skip
        self.script.chmod(0o755)
        allowed = self.server.folder / "authorized_keys"
        begin = (
            block('command="')
            .partition(" ssh-ed25519")[0]
            .replace("/usr/local/sbin/upstream", str(self.script))
        )
        allowed.write_text(allowed.read_text() + "".join(f"{begin} {key}\n" for key in keys))
        self._given_to_its_user()

    def _given_to_its_user(self) -> None:
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.server.user)
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)

    @contextmanager
    def running(self) -> Iterator[None]:
        """nginx in the foreground, ended with the block."""
        user = {"user": self.server.user, "group": pwd.getpwnam(self.server.user).pw_gid, "extra_groups": []}
        with open(self.folder / "nginx.log", "wb") as log:
            self._process = subprocess.Popen(
                [NGINX, "-e", "stderr", "-c", str(self.folder / "nginx.conf")], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, **(user if os.getuid() == 0 else {}),
            )  # type: ignore[call-overload]  # fmt: skip
        try:
            self._wait_for_it()
            yield
        finally:
            self._process.terminate()
            self._process.wait()

    def _wait_for_it(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while not (self.folder / "nginx.pid").exists() or not (self.folder / "nginx.pid").read_text().strip():
            assert self._process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return (self.folder / "nginx.log").read_text("utf-8", "replace")

    def state(self) -> dict[str, str]:
        """What nginx is told of each server."""
        return {path.stem: path.read_text() for path in sorted((self.folder / "web").glob("*.conf"))}

    def tried(self) -> list[str]:
        """A line for each request since the last time: status, method, which servers were tried, what each said."""
        log = self.folder / "access.log"
        lines = log.read_text().splitlines()
        os.truncate(log, 0)
        return lines


@dataclass(kw_only=True)
class Clients:
    """Threads that ask without a pause: with one connection for all, with a new one for each, and with slow POSTs.

    A connection that is found closed between two requests is replaced, as HTTP says (RFC 9112, 9.3.1); anything else that
    is not an answer with status 200 is a failure.
    """

    port: int
    answers: int = 0
    reopened: int = 0
    bodies: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While the block lasts; every thread has got an answer before it begins, and another one after its end."""
        ways = (self._keeping, self._keeping, self._anew, self._anew, self._posting)
        threads = [threading.Thread(target=way) for way in ways]
        for thread in threads:
            thread.start()
        try:
            self._some_more()
            yield
            self._some_more()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _some_more(self) -> None:
        wanted, deadline = self.answers + 40, time.monotonic() + START_S
        while self.answers < wanted:
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.01)

    def _keeping(self) -> None:
        connection, used = self._connection(), False
        while not self._stop.is_set():
            try:
                self._ask(connection, "GET", "/")
                used = True
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                connection.close()
                if used:
                    self.reopened += 1
                else:
                    self._failed(repr(error))
                connection, used = self._connection(), False
        connection.close()

    def _anew(self) -> None:
        while not self._stop.is_set():
            self._once("GET", "/")

    def _posting(self) -> None:
        while not self._stop.is_set():
            self._once("POST", "/slow")

    def _once(self, method: str, path: str) -> None:
        connection = self._connection()
        try:
            self._ask(connection, method, path)
        except (OSError, http.client.HTTPException) as error:
            self._failed(f"{method}: {error!r}")
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str) -> None:
        time.sleep(BREATH_S)
        connection.request(method, path, body=b"x" * 100 if method == "POST" else None)
        answer = connection.getresponse()
        body = answer.read().decode()
        with self._lock:
            self.answers += 1
            self.bodies.add(body)
        if answer.status != 200:
            self._failed(f"{method}: {answer.status}")

    def _failed(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)

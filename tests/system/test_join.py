"""Joining from the node, over real sshds: one for the DAS, one for the way back; the real command line on both sides."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dasctl.remote import frames
from tests.system.cluster import DASCTL, LIMIT_S, Cluster, Run, make_cluster
from tests.system.sshd import Sshd, SshSetting, free_port

COMMAND = f"{sys.executable} -m dasctl"


@dataclass(kw_only=True)
class Member:
    """A machine that joins: a HOME of its own, from which dasctl is run."""

    home: Path
    das: Sshd
    domain: Cluster
    key: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def node_dir(self) -> Path:
        return self.home / "dasctl" / "shop"

    @property
    def coordinates(self) -> dict[str, object]:
        return dict(json.loads((self.node_dir / "das.json").read_text()))

    def run(self, *words: str, cwd: Path | None = None, code: int | None = None) -> Run:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DASCTL_")}
        done = subprocess.run(
            [*DASCTL, *words], env={**environment, "HOME": str(self.home), **self.env}, cwd=cwd or self.home,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        result = Run(code=done.returncode, out=done.stdout, err=done.stderr)
        assert code is None or result.code == code, str(result)
        return result

    def join(self, name: str = "web9", *more: str, code: int = 0, key: Path | None = None) -> Run:
        user = pwd.getpwuid(os.getuid()).pw_name
        return self.run(
            "--json", "join-domain", name, "--das", f"{user}@127.0.0.1:{self.das.port}",
            "--domain-dir", str(self.domain.root), "--sshkeyfile", str(key or self.key), "--das-command", COMMAND,
            *more, code=code,
        )  # fmt: skip


def joined(member: Member, *more: str) -> Run:
    return member.join(
        "web9", "--cluster", "web", "--property", f"http.port={free_port()}", "--sshport", "1", *more
    )


@pytest.fixture
def member(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Member]:
    das = sshd_factory("das", user=pwd.getpwuid(os.getuid()).pw_name)
    other = sshd_factory("n1")
    home = tmp_path / "member"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    shutil.copy(ssh.known_hosts, home / ".ssh" / "known_hosts")
    made = Member(home=home, das=das, domain=make_cluster(tmp_path, ssh, [other]), key=ssh.key)
    (made.domain.root / "config" / "web1-config").mkdir()
    made.domain.write("config/web1-config/secret.properties", "password=geheim\n")
    yield made
    for folder in (home / "dasctl").glob("*/*/.dasctl"):
        made.run("stop-local-instance", folder.parent.name, "--node-dir", str(folder.parent.parent), "--kill")


def test_join_registers_synchronises_and_keeps_the_coordinates(member: Member) -> None:
    run = joined(member)
    row = run.row("web9")
    assert row["status"] == "joined"
    assert row["node"] == "web9"
    assert row["reachable"] is False
    assert "does not reach" in "\n".join(run.json["warnings"])
    assert (member.node_dir / "web9/docroot/index.html").read_text() == "<h1>hello</h1>\n"
    assert not (member.node_dir / "web9/config/secret.properties").exists()
    kept = member.node_dir / "das.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert member.coordinates["instances"] == ["web9"]
    text = member.domain.yaml().read_text()
    assert "web9" in text and "port: 1" in text
    assert member.domain.json("history").json["results"][0]["command"].startswith("join-domain web9")


def test_joining_again_changes_nothing(member: Member) -> None:
    first = joined(member).json["revision"]
    again = member.join("web9", "--sshport", "1")
    assert (again.json["status"], again.row("web9")["status"]) == ("unchanged", "unchanged")
    assert again.json["revision"] == first


def test_a_name_that_another_node_has_is_refused(member: Member) -> None:
    before = member.domain.yaml().read_bytes()
    run = member.join("web1", "--cluster", "web", code=2)
    assert "there is an instance 'web1' already, on node n1" in run.json["error"]["message"]
    assert member.domain.yaml().read_bytes() == before
    assert not (member.node_dir / "das.json").exists()


def test_an_unknown_host_key_is_named_and_can_be_accepted(member: Member) -> None:
    (member.home / ".ssh/known_hosts").write_text("")
    refused = member.join("web9", "--cluster", "web", code=4).json["error"]
    mark = next(word for word in refused["message"].split() if word.startswith("SHA256:"))
    assert f"--host-key {mark}" in refused["hint"]
    wrong = member.join("web9", "--cluster", "web", "--host-key", "SHA256:" + "A" * 43, code=4).json["error"]
    assert mark in wrong["message"]
    joined(member, "--host-key", mark)
    # From now on the key in the coordinates counts, for a join and for a synchronisation.
    assert member.run("--json", "sync-local-instance", code=0).json["status"] == "unchanged"
    assert member.join("web9", "--sshport", "1").json["status"] == "unchanged"


def test_a_changed_host_key_is_a_hard_stop_also_for_start(member: Member, test_keys: Path) -> None:
    joined(member)
    member.das.stop()
    member.das.host_key = test_keys / "other_host"
    member.das.start()
    run = member.run("--json", "start-local-instance", code=4)
    assert run.json["error"]["message"].count("SHA256:") >= 2


def test_synchronising_again_from_the_node(member: Member) -> None:
    joined(member)
    quiet = member.run("--quiet", "sync-local-instance", code=0)
    assert (quiet.out, quiet.err) == ("", "")
    member.domain.write("docroot/index.html", "<h1>changed</h1>\n")
    dry = member.run("--json", "sync-local-instance", "--dry-run", code=0)
    assert [change["path"] for change in dry.row("web9")["changes"]] == ["docroot/index.html"]
    run = member.run("--json", "sync-local-instance", code=0)
    assert (run.row("web9")["status"], run.row("web9")["files_changed"]) == ("synchronised", 1)
    assert (member.node_dir / "web9/docroot/index.html").read_text() == "<h1>changed</h1>\n"


def test_synchronising_some_paths(member: Member) -> None:
    joined(member)
    for name in ("a.jpg", "b.txt", "images/big1.png", "images/small.png"):
        member.domain.write(f"docroot/{name}", name)
    member.run(
        "sync-local-instance",
        "--only",
        "docroot/*.jpg",
        "--only",
        "docroot/images",
        "--exclude",
        "images/big*.png",
        code=0,
    )
    there = {
        str(p.relative_to(member.node_dir / "web9/docroot"))
        for p in (member.node_dir / "web9/docroot").rglob("*")
    }
    assert (
        "a.jpg" in there
        and "b.txt" not in there
        and "images/small.png" in there
        and "images/big1.png" not in there
    )


def test_a_das_that_is_away(member: Member) -> None:
    joined(member)
    member.das.stop()
    away = member.run("--json", "sync-local-instance", code=4)
    assert "the DAS" in away.json["error"]["message"]
    started = member.run("--json", "start-local-instance", code=0)
    assert started.row("web9")["status"] == "started"
    assert "starts with what it has" in started.json["warnings"][0]
    again = member.run("--json", "start-local-instance", code=0)
    assert again.json["status"] == "unchanged"
    stopped = member.run("--json", "stop-local-instance", code=0)
    assert stopped.row("web9")["status"] == "stopped"
    assert member.run("--json", "stop-local-instance", code=0).json["status"] == "unchanged"


def test_a_das_that_hangs(member: Member) -> None:
    joined(member)
    member.das.hang()
    started = member.run("--json", "--timeout", "2", "start-local-instance", code=0)
    assert "starts with what it has" in started.json["warnings"][0]


def test_start_synchronises_first(member: Member) -> None:
    joined(member)
    member.domain.write("docroot/new.html", "new\n")
    run = member.run("--json", "start-local-instance", code=0)
    assert run.row("web9")["files_changed"] == 1
    assert (member.node_dir / "web9/docroot/new.html").exists()


def test_a_refusal_by_the_guard_is_not_a_das_that_is_away(member: Member) -> None:
    joined(member)
    state = member.node_dir / "web9/.dasctl/state.json"
    document = json.loads(state.read_text())
    state.write_text(json.dumps({**document, "epoch": document["epoch"] + 5}))
    member.domain.write("docroot/new.html", "new\n")
    run = member.run("--json", "start-local-instance", code=6)
    assert "fenced" in run.json["error"]["message"]


def test_leaving(member: Member) -> None:
    joined(member)
    member.run("start-local-instance", code=0)
    run = member.run("--json", "leave-domain", code=0)
    assert run.row("web9")["status"] == "left"
    assert "web9" not in member.domain.yaml().read_text()
    assert not member.node_dir.exists()


def test_leaving_and_keeping_the_files(member: Member) -> None:
    joined(member)
    member.run("leave-domain", "--keep-files", code=0)
    assert (member.node_dir / "web9/docroot/index.html").exists()
    assert not (member.node_dir / "web9/.dasctl").exists()
    assert not (member.node_dir / "das.json").exists()


def test_leaving_without_the_das_needs_force(member: Member) -> None:
    joined(member)
    member.das.stop()
    run = member.run("--json", "leave-domain", code=4)
    assert "delete-server-config web9" in run.json["error"]["hint"] and "--force" in run.json["error"]["hint"]
    assert (member.node_dir / "web9/docroot/index.html").exists()
    forced = member.run("--json", "leave-domain", "--force", code=0)
    assert "delete-server-config web9" in forced.row("web9")["note"]
    assert not member.node_dir.exists()
    member.das.start()
    member.domain.json("delete-server-config", "web9")
    assert "instances" in member.domain.yaml().read_text()


def test_leaving_when_the_das_has_forgotten_it(member: Member) -> None:
    joined(member)
    member.domain.json("delete-server-config", "web9")
    run = member.run("--json", "leave-domain", code=0)
    assert "no entry" in run.row("web9")["note"]
    assert not member.node_dir.exists()


def test_a_directory_that_the_das_alone_has_filled(member: Member) -> None:
    joined(member)
    (member.node_dir / "das.json").unlink()
    run = member.run("--json", "start-local-instance", cwd=member.node_dir / "web9/docroot", code=0)
    assert run.row("web9")["status"] == "started"
    assert member.run("--json", "sync-local-instance", code=2).json["error"]["hint"]


def test_the_way_back(member: Member, sshd_factory: Callable[..., Sshd], ssh: SshSetting) -> None:
    node = sshd_factory("way-back", user=pwd.getpwuid(os.getuid()).pw_name, SetEnv=f"HOME={member.home}")
    folder = member.das.home / ".ssh"
    folder.mkdir()
    unknown = member.join(
        "web9", "--cluster", "web", "--property", f"http.port={free_port()}", "--sshport", str(node.port)
    )
    assert "update-node-ssh web9 --host-key SHA256:" in "\n".join(unknown.json["warnings"])
    (folder / "known_hosts").write_text(ssh.known_hosts.read_text())
    closed = member.join("web9", "--sshport", str(node.port))
    assert "setup-ssh web9" in "\n".join(closed.json["warnings"])
    shutil.copy(ssh.key, folder / "id_ed25519")
    open_ = member.join("web9", "--sshport", str(node.port))
    assert open_.row("web9")["reachable"] is True, str(open_)


# The restricted key.


@dataclass(kw_only=True)
class Talk:
    """A conversation with serve-members, frame by frame."""

    process: subprocess.Popen[bytes]
    decoder: frames.Decoder = field(default_factory=frames.Decoder)
    waiting: list[tuple[dict[str, object], bytes]] = field(default_factory=list)

    def frame(self) -> tuple[dict[str, object], bytes] | None:
        assert self.process.stdout is not None
        while not self.waiting:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            self.waiting += self.decoder.feed(data)
        return self.waiting.pop(0)

    def greeting(self) -> dict[str, object]:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) != b"DASCTL-MEMBERS-1\n":
            assert line, "it ended before it spoke"
        frame = self.frame()
        assert frame is not None
        return frame[0]

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, **request: object) -> tuple[dict[str, object], list[tuple[dict[str, object], bytes]]]:
        self.send(frames.encode(dict(request)))
        before = []
        while (frame := self.frame()) is not None:
            if "reply" in frame[0]:
                return frame[0], before
            before.append(frame)
        raise AssertionError("no reply")


@pytest.fixture
def talks(member: Member) -> Iterator[Callable[..., Talk]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: Sequence[str]) -> Talk:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env={**os.environ, "HOME": str(member.home)},
        )  # fmt: skip
        started.append(process)
        return Talk(process=process)

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def serving(member: Member, *words: str) -> list[str]:
    return [*DASCTL, "--domain", str(member.domain.root), "serve-members", *words]


def through_ssh(member: Member, key: Path, command: str) -> list[str]:
    user = pwd.getpwuid(os.getuid()).pw_name
    return [
        "ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-p", str(member.das.port), f"{user}@127.0.0.1", command,
    ]  # fmt: skip


@pytest.fixture
def own_key(member: Member, test_keys: Path) -> Path:
    """The member has joined with an operator's key; now the DAS lets its own key in, restricted."""
    joined(member)
    key = member.home / ".ssh" / "id_ed25519"
    shutil.copy(test_keys / "other", key)
    shutil.copy(test_keys / "other.pub", f"{key}.pub")
    line = member.domain.run("member-key", "web9", "--sshpublickeyfile", f"{key}.pub")
    assert line.code == 0, str(line)
    assert line.out.startswith("restrict,command=") and line.out.endswith("dasctl-member-web9\n")
    assert line.out.count("\n") == 1
    with open(member.das.folder / "authorized_keys", "a") as file:
        file.write(line.out)
    document = member.coordinates
    document["das"]["key"] = str(key)  # type: ignore[index]
    (member.node_dir / "das.json").write_text(json.dumps(document))
    return key


def test_a_restricted_key_does_its_own_things(member: Member, own_key: Path) -> None:
    member.domain.write("docroot/index.html", "<h1>own key</h1>\n")
    run = member.run("--json", "sync-local-instance", code=0)
    assert run.row("web9")["files_changed"] == 1
    again = member.join("web9", key=own_key)
    assert again.json["status"] == "unchanged"
    member.run("leave-domain", code=0)
    assert "web9" not in member.domain.yaml().read_text()


def test_a_restricted_key_does_nothing_else(
    member: Member, own_key: Path, talks: Callable[[Sequence[str]], Talk]
) -> None:
    before = member.domain.yaml().read_bytes()
    # What is asked for is ignored: no shell, no file, another node neither.
    for command in (
        "sh -c 'echo broken-in'",
        f"{COMMAND} --domain {member.domain.root} serve-members",
        "cat /etc/passwd",
    ):
        talk = talks(through_ssh(member, own_key, command))
        assert talk.greeting()["node"] == "web9"
        for request in (
            {"request": "sync", "instance": "web1"},
            {"request": "modtimes", "instance": "web1"},
            {"request": "contents", "instance": "web1", "paths": ["config"]},
            {"request": "leave", "instance": "web1"},
            {"request": "leave", "instance": "web1", "node": "n1"},
            {"request": "join", "name": "web1", "node": "n1"},
            {"request": "join", "name": "new", "cluster": "web", "host": "10.0.0.1"},
            {"request": "reach", "node": "n1"},
            {"request": "sync", "instance": "../web1"},
            {"request": "sync", "instance": "domain"},
            {"request": "sync", "instance": "web*"},
        ):
            reply, frames_before = talk.ask(**request)
            assert reply["reply"] == "error" and not frames_before, request
            assert "geheim" not in str(reply) and "secret" not in str(reply)
    hello, _ = talk.ask(request="hello", node="n1")
    assert hello["instances"] == ["web9"]
    assert member.domain.yaml().read_bytes() == before
    refused = member.join(
        "other", "--cluster", "web", "--node-dir", str(member.home / "second"), code=2, key=own_key
    )
    assert "may not register" in refused.json["error"]["message"]
    assert not (member.home / "second").exists()


def test_a_restricted_key_learns_nothing_from_a_broken_domain(
    member: Member, own_key: Path, talks: Callable[[Sequence[str]], Talk]
) -> None:
    member.domain.edit_yaml("clusters:", "geheim: 1\nclusters:")
    talk = talks(through_ssh(member, own_key, "x"))
    assert talk.greeting() == {"greeting": 1, "error": True}
    frame = talk.frame()
    assert frame is not None and frame[0]["reply"] == "error" and frame[0]["exit_code"] == 2
    _, stderr = talk.process.communicate(timeout=LIMIT_S)
    assert "geheim" not in str(frame) and b"geheim" not in stderr


def test_a_hostile_helper_gets_no_content_of_another(
    member: Member, own_key: Path, talks: Callable[[Sequence[str]], Talk]
) -> None:
    import hashlib

    member.domain.write("docroot/index.html", "changed\n")
    talk = talks(serving(member, "--node", "web9"))
    talk.greeting()
    talk.send(frames.encode({"request": "sync", "instance": "web9"}))
    frame = talk.frame()
    assert frame is not None and frame[0] == {"helper": "open"}
    digest = hashlib.sha256(b"password=geheim\n").hexdigest()
    said = b"\nDASCTL-LINK-1\n" + frames.encode({"greeting": 1, "python": [3, 11, 0], "boot": ""})
    said += frames.encode(
        {"reply": "sync", "instances": [{"name": "web9", "verdict": "needs", "contents": [digest]}]}
    )
    talk.send(frames.encode({"helper": True}, said))
    got = b""
    while (frame := talk.frame()) is not None and "reply" not in frame[0]:
        got += frame[1]
        if frame[0] == {"helper": "close"}:
            talk.send(frames.encode({"helper": "end", "status": 0, "stderr": ""}))
    assert frame is not None and "not in the slice" in str(frame[0])
    assert b"geheim" not in got


def test_modtimes_and_contents(member: Member, talks: Callable[[Sequence[str]], Talk]) -> None:
    import zlib

    joined(member)
    for name in ("a.jpg", "b.txt", "images/big1.png", "images/small.png"):
        member.domain.write(f"docroot/{name}", name * 10)
    revision = member.domain.json("history").json["results"][0]["revision"]
    talk = talks(serving(member))
    talk.greeting()
    reply, before = talk.ask(request="modtimes", instance="web9", paths=["docroot/*.jpg"])
    (entry,) = [entry for header, _ in before for entry in header["entries"]]  # type: ignore[attr-defined]
    status = (member.domain.root / "docroot/a.jpg").stat()
    assert entry[:2] == ["docroot/a.jpg", "f"] and entry[3:5] == [50, status.st_mtime_ns]
    assert reply["entries"] == 1
    reply, before = talk.ask(
        request="contents", instance="web9", paths=["docroot/images"], exclude=["images/big*.png"]
    )
    paths = [entry[0] for header, _ in before for entry in header.get("entries", ())]  # type: ignore[attr-defined]
    assert paths == ["docroot/images", "docroot/images/small.png"]
    pieces = [zlib.decompress(body) if h["z"] else body for h, body in before if "content" in h]
    assert b"".join(pieces) == b"images/small.png" * 10
    nothing, _ = talk.ask(request="modtimes", instance="web9", paths=["config/secret*"])
    assert nothing["entries"] == 0
    assert member.domain.json("history").json["results"][0]["revision"] == revision


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"[1]\n",
        b'{"size":99999999}\n',
        b'{"size":-1}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (1 << 21),
    ],
    ids=["no JSON", "no object", "too large", "negative", "deep", "endless"],
)
def test_broken_frames(member: Member, talks: Callable[[Sequence[str]], Talk], data: bytes) -> None:
    talk = talks(serving(member, "--node", "n1"))
    talk.greeting()
    try:
        talk.send(data)
    except BrokenPipeError:
        pass
    while (frame := talk.frame()) is not None and "reply" not in frame[0]:
        pass
    assert frame is not None and frame[0]["reply"] == "error"
    assert talk.process.wait(timeout=LIMIT_S) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {}, {"request": "shell"}, {"request": ["join"]}, {"request": "sync"}, {"request": "sync", "instance": 7},
        {"request": "sync", "instance": "n" * 300}, {"request": "sync", "instance": "web1", "paths": "x"},
        {"request": "sync", "instance": "web1", "paths": ["*" * 9]}, {"request": "sync", "instance": "web1", "full": 1},
        {"request": "join", "name": "x", "dir": "/a/../b"}, {"request": "join", "name": "x", "host": "-oProxyCommand=x"},
        {"request": "join", "name": "x", "public_key": 'ssh-rsa AAAA"\n'}, {"request": "join", "name": "x", "port": True},
    ],
)  # fmt: skip
def test_requests_are_checked_and_the_conversation_goes_on(
    member: Member, talks: Callable[[Sequence[str]], Talk], request_: dict[str, object]
) -> None:
    talk = talks(serving(member))
    talk.greeting()
    reply, _ = talk.ask(**request_)
    assert (reply["reply"], reply["exit_code"]) == ("error", 2)
    hello, _ = talk.ask(request="hello")
    assert hello["reply"] == "hello"


def test_a_member_that_hangs_up_frees_the_lock(
    member: Member, talks: Callable[[Sequence[str]], Talk]
) -> None:
    joined(member)
    member.domain.write("docroot/index.html", "changed\n")
    talk = talks(serving(member))
    talk.greeting()
    talk.send(frames.encode({"request": "sync", "instance": "web9"}))
    assert talk.frame() is not None
    assert member.domain.run("sync-instance", "web1").code == 5
    assert talk.process.stdin is not None and talk.process.stdout is not None
    talk.process.stdin.close()
    talk.process.stdout.close()
    talk.process.wait(timeout=LIMIT_S)
    assert member.domain.run("sync-instance", "web1").code == 0

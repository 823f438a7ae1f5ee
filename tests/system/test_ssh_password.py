"""setup-ssh on a terminal, against a real OpenSSH server that asks for a password."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.cluster import DASCTL, LIMIT_S, Cluster
from tests.system.ssh_domain import copied_key, entry_of, nodes_domain, public_of, reaches
from tests.system.sshd import Sshd, SshSetting, accounts_locked, append, make_key
from tests.system.terminal import on_terminal

PASSWORD = "correct horse battery"
WRONG = "staple of another"
PROMPT = "password of "

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can make a user with a password")


@dataclass(kw_only=True)
class Asking:
    """A node whose user has a password and no key yet."""

    server: Sshd
    cluster: Cluster
    shown: str = ""

    @property
    def keys(self) -> Path:
        return self.server.home / ".ssh/authorized_keys"

    def setup(self, *words: str, typed: tuple[str, ...] = ()) -> int:
        """Run setup-ssh on a terminal; passwords never appear there."""
        command = [*DASCTL, "--domain", str(self.cluster.root), "setup-ssh", *words]
        code, self.shown = on_terminal(
            command, [(PROMPT, word) for word in typed], env={**os.environ, "TERM": "xterm"},
            cwd=self.cluster.root.parent,
        )  # fmt: skip
        self.shown = " ".join(self.shown.split())
        for secret in (PASSWORD, WRONG, "PRIVATE KEY", "Traceback"):
            assert secret not in self.shown
        return code


@pytest.fixture(params=["sh", "csh"])
def shell(request: pytest.FixtureRequest) -> str:
    shell = shutil.which(str(request.param))
    assert shell is not None, f"{request.param} is needed: apt-get install {request.param}"
    return shell


@pytest.fixture
def asking(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd], shell: str
) -> Iterator[Asking]:
    name = f"dasnode-pw{os.getpid()}"
    home = tmp_path / "n1/home"
    with accounts_locked():
        subprocess.run(["useradd", "-M", "-d", str(home), "-s", shell, name], check=True, capture_output=True)
    try:
        with accounts_locked():
            subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}\n", text=True, check=True)
        server = sshd_factory(
            "n1", user=name, PasswordAuthentication="yes", AuthorizedKeysFile=".ssh/authorized_keys"
        )
        yield Asking(server=server, cluster=nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)}))
        server.stop()
    finally:
        with accounts_locked():
            subprocess.run(["userdel", "-f", name], check=False, capture_output=True)


def test_wrong_password_then_the_right_one(asking: Asking, ssh: SshSetting) -> None:
    asking.keys.parent.mkdir(mode=0o700)
    asking.keys.write_text("ssh-ed25519 AAAA without a newline at its end")
    user = pwd.getpwnam(asking.server.user)
    for path in (asking.keys.parent, asking.keys):
        os.chown(path, user.pw_uid, user.pw_gid)
    assert asking.cluster.run("ping-node-ssh").code == 4
    assert asking.setup("n1", "--verbose", typed=(WRONG,)) == 4
    assert "the password was not accepted" in asking.shown
    assert asking.keys.read_text().count("\n") == 0
    assert asking.setup("n1", "--json", typed=(PASSWORD,)) == 0, asking.shown
    assert f"{asking.server.user}@127.0.0.1" in asking.shown
    assert "is authorised now" in asking.shown
    assert asking.keys.read_text().splitlines() == [
        "ssh-ed25519 AAAA without a newline at its end", f"{public_of(ssh.key)} test",
    ]  # fmt: skip
    assert asking.keys.stat().st_mode & 0o777 == 0o600
    reaches(asking.cluster)
    assert asking.setup("n1") == 0
    assert "already lets us in" in asking.shown
    assert len(asking.keys.read_text().splitlines()) == 2
    row = asking.cluster.json("setup-ssh").row("n1")
    assert row["status"] == "unchanged"


@pytest.mark.parametrize("shell", ["/bin/sh"])
def test_without_a_terminal_it_says_so(asking: Asking) -> None:
    done = subprocess.run(
        [*DASCTL, "--domain", str(asking.cluster.root), "setup-ssh"], stdin=subprocess.DEVNULL, text=True,
        capture_output=True, start_new_session=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no terminal" in " ".join(done.stderr.split())
    assert not asking.keys.exists()


@pytest.mark.parametrize("shell", ["/bin/sh"])
def test_makes_a_key_where_there_is_none(asking: Asking, ssh: SshSetting) -> None:
    asking.cluster.edit_yaml(f', "key": "{ssh.key}"', "")
    assert asking.setup("n1") == 1
    assert "--generatekey" in asking.shown
    assert asking.setup("n1", "--generatekey", typed=(PASSWORD,)) == 0, asking.shown
    reaches(asking.cluster)
    assert (ssh.home / ".ssh/id_ed25519").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("shell", ["/bin/sh"])
def test_key_that_the_configuration_names(asking: Asking, ssh: SshSetting) -> None:
    """The node's own key is what ssh would offer, not what happens to be the first default."""
    asking.cluster.edit_yaml(f', "key": "{ssh.key}"', "")
    make_key(ssh.home / ".ssh/id_ed25519")
    key = copied_key(ssh.key, ssh.home / ".ssh/shop")
    append(ssh.config, "Host *\n  IdentityFile ~/.ssh/shop\n")
    assert asking.setup("n1", typed=(PASSWORD,)) == 0, asking.shown
    assert public_of(key) in asking.keys.read_text()
    reaches(asking.cluster)


@pytest.mark.parametrize("shell", ["/bin/sh"])
def test_key_that_is_encrypted_and_in_no_agent(asking: Asking, ssh: SshSetting) -> None:
    """It is put there, and what is missing is told as what it is."""
    key = make_key(ssh.home / "locked", passphrase="secret words")
    asking.cluster.edit_yaml(str(ssh.key), str(key))
    assert asking.setup("n1", typed=(PASSWORD,)) != 0
    assert "is encrypted" in asking.shown and "ssh-add" in asking.shown
    assert public_of(key) in asking.keys.read_text()


@pytest.mark.parametrize("shell", ["/bin/sh"])
def test_public_key_that_is_given(asking: Asking, ssh: SshSetting) -> None:
    """One that the node is not offered afterwards: it is there, and the remedy names the option that offers it."""
    asking.cluster.edit_yaml(f', "key": "{ssh.key}"', "")
    shutil.copy(f"{ssh.key}.pub", ssh.home / "given.pub")
    code = asking.setup("n1", "--sshpublickeyfile", str(ssh.home / "given.pub"), typed=(PASSWORD,))
    assert code != 0
    assert public_of(ssh.key) in asking.keys.read_text()
    assert "--sshkeyfile" in asking.shown

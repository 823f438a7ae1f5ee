"""Which words of a command line go to another machine, and which of them are files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dasctl.cli import app
from dasctl.cli.main import run
from dasctl.core.elsewhere import CarriedFile, Place

DAS = "deploy@das:/srv/shop"


class Asked:
    """Stands in the place of the machine: keeps what it was asked to run."""

    def __init__(self) -> None:
        self.words: list[str | tuple[str, int]] = []
        self.files: list[CarriedFile] = []
        self.typed: list[str] = []
        self.place: Place | None = None

    def __call__(
        self, place: Place, words: Sequence[str | tuple[str, int]], files: Sequence[CarriedFile], **more: Any
    ) -> int:
        self.place, self.words, self.files = place, list(words), list(files)
        self.typed = list(more["typed"])
        return 7


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    made = Asked()
    monkeypatch.delenv("DASCTL_DAS", raising=False)
    monkeypatch.chdir(tmp_path)
    return made


def line(asked: Asked, *words: str) -> tuple[int, str]:
    err = io.StringIO()
    return run(words, out=io.StringIO(), err=err, elsewhere=asked), err.getvalue()


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["--das", DAS, "--json", "sync-cluster", "web"], ["--json", "sync-cluster", "web"]),
        (["sync-cluster", "web", f"--das={DAS}", "--dry-run"], ["sync-cluster", "web", "--dry-run"]),
        (
            ["--das-command", "x y", "--wait", "3", "sync-domain", "--das", DAS],
            ["--wait", "3", "sync-domain"],
        ),
        (["--das", DAS, "explain", "--", "-x", "--das"], ["explain", "--", "-x", "--das"]),
        (["--das", DAS, "history", "-n3"], ["history", "-n3"]),
        (["--das", DAS, "history", "-qln", "3"], ["history", "-qln", "3"]),
        (["--das", DAS, "run", "web", "--", "ls", "--das", "x"], ["run", "web", "--", "ls", "--das", "x"]),
    ],
)
def test_words(asked: Asked, words: list[str], there: list[str]) -> None:
    code, err = line(asked, *words)
    assert (code, err) == (7, "")
    assert asked.words == asked.typed == there
    assert asked.place is not None
    assert str(asked.place) == DAS


def test_files(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "a b.bundle").touch()
    assert line(asked, "--das", DAS, "import-sync-bundle", "--dry-run", "a b.bundle")[0] == 7
    assert asked.words == ["import-sync-bundle", "--dry-run", ("", 0)]
    assert asked.typed == ["import-sync-bundle", "--dry-run", "a b.bundle"]
    assert asked.files == [
        CarriedFile(way="up", path=str(tmp_path / "a b.bundle"), words="a b.bundle", name="a b.bundle")
    ]
    assert line(asked, "--das", DAS, "export-sync-bundle", "web", "db", "x.bundle", "--since", "3")[0] == 7
    assert asked.words == ["export-sync-bundle", "web", "db", ("", 0), "--since", "3"]
    assert (asked.files[0].way, asked.files[0].name) == ("file", "x.bundle")
    assert line(asked, "--das", DAS, "backup-domain", "--to=kept", "--without-history")[0] == 7
    assert asked.words == ["backup-domain", ("--to=", 0), "--without-history"]
    assert (asked.files[0].way, asked.files[0].path) == ("folder", str(tmp_path / "kept"))
    assert (tmp_path / "kept").is_dir()


def test_a_backup_of_the_das_is_named_as_there(asked: Asked, tmp_path: Path) -> None:
    assert line(asked, "--das", DAS, "restore-domain", "shop.tar.gz")[0] == 7
    assert asked.files == []
    (tmp_path / "shop.tar.gz").touch()
    assert line(asked, "--das", DAS, "restore-domain", "shop.tar.gz")[0] == 7
    assert asked.words == ["restore-domain", ("", 0)]


def test_the_environment(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASCTL_DAS", DAS)
    monkeypatch.setenv("DASCTL_DAS_COMMAND", "/opt/dasctl")
    assert line(asked, "sync-domain")[0] == 7
    assert asked.place is not None
    assert asked.place.command == "/opt/dasctl"
    asked.place = None
    assert line(asked, "--domain", "nowhere", "sync-domain")[0] == 2
    assert line(asked, "start-local-instance")[0] == 2  # about this machine, whatever the environment says
    assert asked.place is None


def test_what_contradicts(asked: Asked) -> None:
    assert "contradict" in line(asked, "--das", DAS, "--domain", "x", "sync-domain")[1]
    assert "this machine" in line(asked, "--das", DAS, "serve-members")[1]
    assert "not a domain on another machine" in line(asked, "--das", "das", "sync-domain")[1]
    code, err = line(asked, "--das", DAS, "sync-domain", "--no-such-option")
    assert (code, "no such option" in err) == (2, True)
    assert asked.place is None


def test_join_domain_has_a_das_of_its_own() -> None:
    command = app.build_app().commands["join-domain"]
    assert [param.name for param in command.params if "--das" in param.opts] == ["das"]

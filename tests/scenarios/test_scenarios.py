"""Every scenario prints what is written in its file (README.md)."""

import os
import time
from pathlib import Path

import pytest

from tests.scenarios.script import Script, blocks
from tests.scenarios.world import World

HERE = Path(__file__).parent
REWRITE = "DASCTL_REWRITE"


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch):
    for name in ("DASCTL_DOMAIN", "NO_COLOR", "COLUMNS", "_DASCTL_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("file", sorted(HERE.glob("*.txt")), ids=lambda file: file.stem)
def test_scenario(file, tmp_path):
    script = Script(world=World(base=tmp_path))
    rewritten = []
    for block in blocks(file.read_text()):
        output = script.output(block.commands)
        rewritten.append(block.text(output))
        if not os.environ.get(REWRITE):
            assert output == block.expected, f"{file.name}:{block.line}: {block.commands[-1]}"
    if os.environ.get(REWRITE):
        file.write_text("".join(rewritten))


def test_commands_without_dashes_are_told():
    with pytest.raises(ValueError, match="line 3"):
        list(blocks("write a b\nsync-domain\n"))


def test_a_rewritten_file_has_the_same_blocks():
    text = "# why\nwrite a b\nsync-domain\n----\nline\n.\nline\n\n# last\nreads\n----\n"
    assert "".join(block.text(block.expected) for block in blocks(text)) == text

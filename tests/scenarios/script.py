"""The scenarios' language: blocks of commands, four dashes, what they print (README.md)."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from dasctl.adapters.memory_history import MemoryHistory
from dasctl.adapters.streams import Fault
from dasctl.remote.manifest import Entry, decode
from tests.scenarios.world import MAIN, World

DASHES = "----"
OWN = ".dasctl"  # of an instance: the helper's state
EMPTY = "."  # stands for an empty line of output: an empty line ends a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands and what they shall print; `comment` are the lines above them, kept when a file is rewritten."""

    line: int
    comment: tuple[str, ...]
    commands: tuple[str, ...]
    expected: tuple[str, ...]

    def text(self, output: tuple[str, ...]) -> str:
        return "\n".join([*self.comment, *self.commands, DASHES, *output]) + "\n"


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a scenario file. Raises ValueError for commands without dashes."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        start = number
        comment, number = _while(lines, number, lambda line: not line or line.startswith("#"))
        commands, number = _while(lines, number, lambda line: bool(line) and line != DASHES)
        if not commands:
            return
        if number == len(lines) or lines[number] != DASHES:
            raise ValueError(f"line {number + 1}: {DASHES} is missing")
        expected, number = _while(lines, number + 1, bool)
        yield Block(
            line=start + len(comment) + 1, comment=tuple(comment), commands=tuple(commands), expected=tuple(expected)
        )  # fmt: skip


def _while(lines: list[str], number: int, fits: Callable[[str], bool]) -> tuple[list[str], int]:
    end = number
    while end < len(lines) and fits(lines[end]):
        end += 1
    return lines[number:end], end


@dataclass(kw_only=True)
class Script:
    """Carries out commands in a world. A verb of the language is a method; anything else is a command of dasctl."""

    world: World
    held: list[AbstractContextManager[None]] = field(default_factory=list)
    das: str = MAIN

    def output(self, commands: tuple[str, ...]) -> tuple[str, ...]:
        """The lines that these commands print."""
        shown = self.world.everywhere("".join(self._carry_out(line) for line in commands))
        return tuple(line or EMPTY for line in shown.splitlines())

    def _carry_out(self, line: str) -> str:
        verb, *arguments = shlex.split(line)
        if verb == "with":
            self.das = arguments[0]
            try:
                return self._carry_out(line.split(None, 2)[2])
            finally:
                self.das = MAIN
        method = getattr(self, "do_" + verb.replace("-", "_"), None)
        if method is not None:
            return str(method(*arguments) or "")
        return self.world.transcript(line, das=self.das)

    # The repository.

    @property
    def _repository(self):  # type: ignore[no-untyped-def]
        return self.world.copies[self.das].repository

    def do_write(self, path: str, text: str, mode: str = "644") -> None:
        self._repository.put_file(path.encode(), text.encode() + b"\n", mode=int(mode, 8))

    def do_blob(self, path: str, size: str) -> None:
        """A file of `size` bytes that does not shrink."""
        self._repository.put_file(path.encode(), random.Random(path).randbytes(int(size)))

    def do_many(self, path: str, count: str, text: str) -> None:
        """`count` files, numbered from 1."""
        for number in range(1, int(count) + 1):
            self.do_write(f"{path}{number}", f"{text} {number}")

    def do_chmod(self, path: str, mode: str) -> None:
        repository, name = self._repository, path.encode()
        thing = repository._things[name]
        repository.put_file(name, thing.data, mode=int(mode, 8), mtime=thing.mtime)

    def do_folder(self, path: str) -> None:
        self._repository.put_folder(path.encode())

    def do_link(self, path: str, target: str) -> None:
        self._repository.put_link(path.encode(), target.encode())

    def do_pipe(self, path: str) -> None:
        self._repository.put_pipe(path.encode())

    def do_delete(self, path: str) -> None:
        self._repository.remove(path.encode())

    def do_archive(self, file: str, *members: str) -> None:
        """A zip in $NODES, always with the same bytes for the same PATH=TEXT members."""
        with zipfile.ZipFile(self.world.nodes / file, "w") as made:
            for member in members:
                path, _, text = member.partition("=")
                made.writestr(zipfile.ZipInfo(path, date_time=(2023, 1, 2, 3, 4, 6)), text)

    def do_edit(self, old: str, new: str) -> None:
        """Change domain.yaml as a person with an editor does; `\\n` in NEW is a new line."""
        store = self.world.copies[self.das].store
        assert old in (store.text or ""), f"domain.yaml has no {old!r}"
        store.write((store.text or "").replace(old, new.replace("\\n", "\n")))

    def do_grow(self, count: str) -> None:
        """Nodes and members of the cluster web up to `count`."""
        numbers = range(4, int(count) + 1)
        nodes = "".join(
            f"\n  n{number}: {{host: n{number}.example.com, dir: {self.world.nodes}/n{number}}}"
            for number in numbers
        )
        members = "".join(f"\n  web{number}: {{node: n{number}, cluster: web}}" for number in numbers)
        self.do_edit("/nodes/n3}", "/nodes/n3}" + nodes)
        self.do_edit("  web2: {node: n2, cluster: web}", "  web2: {node: n2, cluster: web}" + members)

    def do_show(self, word: str) -> str:
        """The lines of domain.yaml that hold `word`."""
        store = self.world.copies[self.das].store
        return "".join(line + "\n" for line in (store.text or "").splitlines() if word in line)

    def do_reads(self) -> str:
        """How many files of the repository were read (and so, sent) since the last time."""
        reads, self._repository.reads = self._repository.reads, 0
        return f"{reads} read\n"

    # The world around it.

    def do_advance(self, seconds: str) -> None:
        self.world.clock.advance(float(seconds))

    def do_copy_domain(self, name: str) -> None:
        self.world.copies[name] = self.world.copies[self.das].copied(name)

    def do_wipe_history(self) -> None:
        self.world.copies[self.das].history = MemoryHistory()

    def do_lock(self, command: str) -> None:
        """Another command holds the domain from here on."""
        lock = self.world.copies[self.das].store.domain_locked(command, wait_s=0.0)
        lock.__enter__()
        self.held.append(lock)

    def do_unlock(self) -> None:
        self.held.pop().__exit__(None, None, None)

    def do_answer(self, word: str, *command: str) -> str:
        """`answer yes COMMAND`: somebody sits at the terminal, and says so to any question, which is shown."""
        self.world.answer = word == "yes"
        try:
            shown = self.world.transcript(shlex.join(command), das=self.das)
        finally:
            self.world.answer = None
        asked = "".join(f"? {line}\n" for question in self.world.questions for line in question.splitlines())
        self.world.questions.clear()
        return asked + shown

    def do_away(self, node: str) -> None:
        self.world.away(node)

    def do_back(self, node: str) -> None:
        self.world.back(node)

    def do_cut(self, node: str, after: str, size: str, of: str = "sent") -> None:
        """`cut n2 after 500` bytes that the DAS sends; `cut n2 after 500 received`: that it receives."""
        assert after == "after"
        self.world.faults[node] = Fault(**{f"cut_after_{of}": int(size)})

    def do_mend(self, node: str) -> None:
        del self.world.faults[node]

    def do_wipe_node(self, node: str) -> None:
        self.world.wipe_node(node)

    # A person, or a server, on a node.

    def do_on(self, instance: str, verb: str, *arguments: str) -> str:
        folder = self.world.instance(instance, das=self.das)
        return str(getattr(self, "on_" + verb)(folder, *arguments) or "")

    def on_write(self, folder: Path, path: str, text: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text + "\n")

    def on_read(self, folder: Path, path: str) -> str:
        return (folder / path).read_text()

    def on_delete(self, folder: Path, path: str) -> None:
        if (folder / path).is_dir():
            shutil.rmtree(folder / path)
        else:
            (folder / path).unlink()

    def on_spoil(self, folder: Path, path: str) -> None:
        """Other bytes, the same size, the same modtime: a disk that rots, or somebody who hides."""
        status = (folder / path).stat()
        (folder / path).write_bytes(b"?" * status.st_size)
        os.utime(folder / path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def on_list(self, folder: Path, below: str = ".") -> str:
        """Modes and names of what is not the helper's own."""
        if not (folder / below).is_dir():
            return "nothing\n"
        found = sorted(path.relative_to(folder) for path in (folder / below).rglob("*"))
        return "".join(_listed(folder, path) for path in found if path.parts[0] != OWN)

    def on_fill(self, folder: Path, area: str) -> None:
        """Copy an area of the repository there with its times, as `rsync -a` does."""
        scan = self._repository.scan(self.world.copies[self.das].store.load(), criterion="hash")
        entries = decode(scan.areas[area].data)
        for entry in entries:
            _copy(
                folder,
                entry,
                b"".join(self._repository.read(entry.path, piece=1 << 20)) if entry.kind == "f" else b"",
            )
        for entry in reversed(entries):
            os.utime(folder / os.fsdecode(entry.path), ns=(entry.mtime, entry.mtime), follow_symlinks=False)
        self._repository.reads = 0

    def on_save(self, folder: Path, name: str) -> None:
        """A backup of the instance's folder, beside the nodes."""
        shutil.copytree(folder, self.world.base / name, symlinks=True)

    def on_restore(self, folder: Path, name: str) -> None:
        shutil.rmtree(folder)
        shutil.copytree(self.world.base / name, folder, symlinks=True)


def _listed(folder: Path, path: Path) -> str:
    full = folder / path
    if full.is_symlink():
        return f"lnk {path} -> {full.readlink()}\n"
    slash = "/" if full.is_dir() else ""
    return f"{full.stat().st_mode & 0o777:o} {path}{slash}\n"


def _copy(folder: Path, entry: Entry, data: bytes) -> None:
    path = folder / os.fsdecode(entry.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "d":
        path.mkdir(exist_ok=True)
        path.chmod(entry.mode)
    elif entry.kind == "l":
        path.symlink_to(os.fsdecode(entry.digest))
    else:
        path.write_bytes(data)
        path.chmod(entry.mode)

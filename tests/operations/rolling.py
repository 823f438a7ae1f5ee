"""A cluster of four whose servers are processes on this machine, with a load balancer that writes down what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scenarios.world import DEFINITION, World

FOUR = ("web1", "web2", "web3", "web4")


def definition(*, drain: str = "", ready: str = "") -> str:
    """Four instances of `web`, each on a node of its own. They are drained by a line in the file `balancer`, and die at
    once with a file `local/broken`, or with a library that says that it is bad for them.
    """
    nodes = "".join(f"  n{n}: {{{{host: n{n}.example.com, dir: {{nodes}}/n{n}}}}}\n" for n in range(1, 5))
    members = "".join(f"  web{n}: {{{{node: n{n}, cluster: web}}}}\n" for n in range(1, 5))
    tell = "echo {word} ${{instance.name}} >> {{nodes}}/balancer"
    head, _, _ = DEFINITION.partition("nodes:\n")
    drain = drain or tell.format(word="drain").replace("${instance.name}", "${{instance.name}}")
    undrain = tell.format(word="undrain").replace("${instance.name}", "${{instance.name}}")
    good = 'test ! -e local/broken && ! grep -q "bad for ${{instance.name}}" lib/a.jar'
    ready = ready or f"{{{{command: '{good}', timeout: 30s}}}}"
    return (
        f"{head}nodes:\n{nodes}configs:\n  web-config:\n    start: '{good} && exec sleep 600'\n    restart-on: [lib/**]\n"
        f"    ready: {ready}\n"
        f"    drain: {{{{command: '{drain}', timeout: 20s}}}}\n    undrain: {{{{command: '{undrain}'}}}}\n"
        f"clusters:\n  web: {{{{config: web-config}}}}\ninstances:\n{members}"
    )


class Cluster:
    """The world around these four."""

    def __init__(self, base: Path, **more: str) -> None:
        self.world = World(base=base, text=definition(**more))
        self.put("lib/a.jar", b"one")

    def put(self, path: str, data: bytes) -> None:
        self.world.das.repository.put_file(path.encode(), data)

    def run(self, line: str, code: int = 0) -> str:
        """What the command shows; its exit code must be `code`."""
        ended, shown = self.world.run(line)
        assert ended == code, f"exit {ended}\n{shown}"
        return shown

    def json(self, line: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(f"--json {line}", code))
        return document

    def rows(self, line: str, code: int = 0) -> dict[str, tuple[str, str, int]]:
        """Instance to (status, state, revision)."""
        document = self.json(line, code)
        return {
            row["instance"]: (row["status"], row["state"], row["revision"]) for row in document["results"]
        }

    @property
    def told(self) -> list[str]:
        """What the load balancer was told since the last time."""
        file = self.world.nodes / "balancer"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines

    def forget(self) -> None:
        """What it was told before is of no interest."""
        assert self.told is not None

    def pids(self) -> dict[str, int | None]:
        return {row["instance"]: row["pid"] for row in self.json("list-instances")["results"]}

    def break_down(self, name: str, *, yes: bool = True) -> None:
        """Let the server of an instance die whenever it is started from now on."""
        file = self.world.instance(name) / "local" / "broken"
        if yes:
            file.touch()
        else:
            file.unlink()

    def content(self, name: str) -> bytes:
        return (self.world.instance(name) / "lib/a.jar").read_bytes()

    def end(self) -> None:
        self.world.run("stop-cluster web --kill")

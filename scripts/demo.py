"""`make demo`: the main job of dasctl, done for real on this machine, each step verified.

Three nodes, a small shop on them, a change that reaches all of them, and nothing left behind. The exit code
is 0 only if every step did what it says.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playground import Playground, PlaygroundError, dasctl, free_port, playground_open
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from terminal import Ran, run_in_terminal, run_plainly

COMMAND_TIMEOUT_S = 120.0
FETCH_TIMEOUT_S = 10.0
NODES = ("n1", "n2", "n3")
CLUSTER = "web"
OLD_WORDS = "Fresh today"
NEW_WORDS = "Fresh today, at half the price until Sunday"


class StepFailed(Exception):
    """A step did not do what it says."""


@dataclass(slots=True, kw_only=True)
class Demo:
    """The demo as it goes on: the place, the screen, and what is known so far."""

    place: Playground
    console: Console
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    step: int = 0
    title: str = ""

    @property
    def domain(self) -> Path:
        return self.place.root / "shop"

    def begin(self, title: str) -> None:
        self.step += 1
        self.title = title
        self.console.print(Text.assemble("\n", (f" {self.step} ", "bold reverse"), " ", (title, "bold")))

    def verified(self, what: str) -> None:
        self.console.print(Text.assemble(("✓ ", "bold green"), (what, "green")))

    def typed(self, line: str) -> None:
        """A command as a person would type it, on lines that fit."""
        for row in broken(line.replace(str(self.place.root), "$DEMO"), self.console.width):
            self.console.print(row)
        sys.stdout.flush()

    def require(self, truth: bool, what: str) -> None:
        if not truth:
            raise StepFailed(what)

    def run(self, *words: str, show: bool = True, cwd: Path | None = None) -> Ran:
        """Run `dasctl` with `words` where a person can watch; it must succeed."""
        if show:
            self.typed(shlex.join(["dasctl", *words]))
        command, where = [dasctl(), *words], cwd or self.domain
        if show and sys.stdout.isatty():
            ran = run_in_terminal(
                command, env=self.place.env, cwd=where, columns=self.console.width, show=True,
                timeout_s=COMMAND_TIMEOUT_S,
            )  # fmt: skip
        else:
            ran = run_plainly(command, env=self.place.env, cwd=where, show=show, timeout_s=COMMAND_TIMEOUT_S)
        if ran.code != 0:
            ended = "did not end in time" if ran.code is None else f"ended with exit code {ran.code}"
            raise StepFailed(f"`dasctl {shlex.join(words)}` {ended}" + ("" if show else f":\n{ran.output}"))
        return ran

    def ask(self, *words: str) -> dict[str, Any]:
        """The JSON document of a command, out of sight."""
        output = self.run("--json", *words, show=False).output
        try:
            document = json.loads(output)
        except ValueError:
            raise StepFailed(f"`dasctl --json {shlex.join(words)}` printed no JSON:\n{output}") from None
        self.require(isinstance(document, dict), f"`dasctl --json {shlex.join(words)}` printed no object")
        return dict(document)


def broken(line: str, columns: int) -> list[Text]:
    """`$ command`, broken before options where it is too long for one line."""
    rows: list[str] = []
    for word in re.split(r" (?=--)", line):
        if rows and len(rows[-1]) + len(word) + 5 <= columns:
            rows[-1] += f" {word}"
        else:
            rows.append(f"    {word}" if rows else word)
    last = len(rows) - 1
    return [
        Text.assemble(("  " if i else "$ ", "dim"), (row, "bold cyan"), ("" if i == last else " \\", "dim"))
        for i, row in enumerate(rows)
    ]


def make_nodes(demo: Demo) -> None:
    demo.begin("Three nodes: SSH servers on this machine, each with a folder of its own")
    for name in NODES:
        node = demo.place.start_node(name)
        demo.typed(f"dasctl serve-ssh --dir {node.folder} --port 0 --authorized-keys $DEMO/key.pub &")
        demo.verified(f"{name} listens on 127.0.0.1:{node.port}, host key {node.host_key}")


def make_domain(demo: Demo) -> None:
    demo.begin("A domain: one folder that says which servers run where, and holds all that they need")
    demo.run("create-domain", str(demo.domain), "--sample", cwd=demo.place.root)
    demo.require((demo.domain / "config" / "domain.yaml").is_file(), "there is no config/domain.yaml")
    choose_ports(demo)
    demo.run("verify-domain")
    demo.verified(f"config/domain.yaml is valid; {', '.join(demo.ports)} will listen on ports "
                  f"{', '.join(map(str, demo.ports.values()))}")  # fmt: skip


def choose_ports(demo: Demo) -> None:
    """Give the sample's instances other ports where somebody else has theirs."""
    file = demo.domain / "config" / "domain.yaml"
    text = file.read_text()
    ports: list[int] = []

    def chosen(match: re.Match[str]) -> str:
        ports.append(free_port(int(match[2]), ports))
        return match[1] + str(ports[-1])

    head, mark, tail = text.partition("\ninstances:")
    file.write_text(head + mark + re.sub(r"(http\.port:\s*)(\d+)", chosen, tail))
    names = [row["instance"] for row in demo.ask("list-instances", CLUSTER, "--nostatus")["results"]]
    demo.require(
        len(names) == len(ports) == 3, f"expected three instances with a port each: {names}, {ports}"
    )
    demo.ports = dict(zip(names, ports, strict=True))


def register_nodes(demo: Demo) -> None:
    demo.begin("The nodes get their addresses; their host keys are known from the start")
    for node in demo.place.nodes:
        demo.run(
            "update-node-ssh", node.name, "--nodehost", "127.0.0.1", "--sshport", str(node.port),
            "--sshkeyfile", str(demo.place.key), "--nodedir", str(node.folder), "--host-key", node.host_key,
        )  # fmt: skip
    demo.run("ping-node-ssh")
    demo.verified("every node answers, has python3, and lets us write")


def start_cluster(demo: Demo) -> None:
    demo.begin("Start the cluster: each node receives its part of the domain, then its server starts")
    demo.run("start-cluster", CLUSTER)
    demo.run("list-instances")
    rows = demo.ask("list-instances", CLUSTER)["results"]
    states = {row["instance"]: row["state"] for row in rows}
    demo.require(states == dict.fromkeys(demo.ports, "running"), f"not everything runs: {states}")
    demo.pids = {row["instance"]: row["pid"] for row in rows}
    demo.verified("three servers run")
    for name, port in demo.ports.items():
        page = fetch(port)
        demo.require(OLD_WORDS in page, f"{name} serves another page than expected:\n{page}")
        demo.verified(f"http://127.0.0.1:{port}/ ({name}): {heading_of(page)}")


def change_a_page(demo: Demo) -> None:
    demo.begin("Change one page of the domain, and synchronise: only what differs travels")
    page = demo.domain / "docroot" / "index.html"
    text = page.read_text()
    demo.require(OLD_WORDS in text, f"{page} has no {OLD_WORDS}")
    page.write_text(text.replace(OLD_WORDS, NEW_WORDS))
    demo.typed(f"sed -i 's/{OLD_WORDS}/{NEW_WORDS}/' docroot/index.html")
    demo.run("sync-cluster", CLUSTER, "--dry-run")
    demo.run("sync-cluster", CLUSTER)
    for name, port in demo.ports.items():
        answer = fetch(port)
        demo.require(NEW_WORDS in answer, f"{name} still serves the old page")
        demo.verified(f"http://127.0.0.1:{port}/ ({name}): {heading_of(answer)}")
    again = demo.ask("sync-cluster", CLUSTER)
    demo.require(again["status"] == "unchanged", f"a second synchronisation found work: {again}")
    rows = demo.ask("list-instances", CLUSTER)["results"]
    demo.require(
        {row["instance"]: row["pid"] for row in rows} == demo.pids, f"a server was restarted: {rows}"
    )
    demo.verified("the servers ran on all the while, and a second synchronisation has nothing to do")


def stop_cluster(demo: Demo) -> None:
    demo.begin("Stop everything")
    demo.run("stop-cluster", CLUSTER)
    states = [row["state"] for row in demo.ask("list-instances", CLUSTER)["results"]]
    demo.require(states == ["not running"] * 3, f"something still runs: {states}")
    demo.verified("three servers stopped")
    demo.place.stop_nodes()
    left = demo.place.wait_for_no_process()
    demo.require(not left, f"processes were left behind: {left}")
    demo.verified("the nodes are gone, and no process is left behind")


STEPS: tuple[Callable[[Demo], None], ...] = (
    make_nodes, make_domain, register_nodes, start_cluster, change_a_page, stop_cluster,
)  # fmt: skip


def fetch(port: int) -> str:
    """The page of a server on loopback, whatever proxies the environment names."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/", timeout=FETCH_TIMEOUT_S) as answer:
            return str(answer.read().decode("utf-8", "replace"))
    except OSError as error:
        raise StepFailed(f"http://127.0.0.1:{port}/ does not answer: {error}") from error


def heading_of(page: str) -> str:
    found = re.search(r"<h1>\s*(.*?)\s*</h1>", page, re.DOTALL | re.IGNORECASE)
    return f"“{found[1]}”" if found else f"{len(page)} characters"


def main() -> int:
    sys.stdout.reconfigure(errors="replace", line_buffering=True)  # type: ignore[union-attr]
    width = shutil.get_terminal_size((100, 24)).columns
    console = Console(width=min(width, 140) if sys.stdout.isatty() else 160, highlight=False, soft_wrap=True)
    started = time.monotonic()
    with playground_open("dasctl-demo-") as place:
        demo = Demo(place=place, console=console)
        console.print(
            Panel.fit(
                "A shop on three servers, administered from one folder over SSH\n"
                f"[dim]DEMO={place.root}, removed at the end[/]",
                title="[bold]dasctl[/]", title_align="left", border_style="cyan",
            )
        )  # fmt: skip
        try:
            for step in STEPS:
                step(demo)
        except (StepFailed, PlaygroundError) as error:
            show_logs(demo)
            console.print(
                Text.assemble("\n", ("✗ ", "bold red"), (f"Step {demo.step} failed: ", "bold"), str(error))
            )
            return 1
        except KeyboardInterrupt:
            console.print("\ninterrupted; cleaning up")
            return 130
    gone = not os.path.lexists(place.root)
    if not gone:
        console.print(f"[bold red]✗[/] {place.root} could not be removed")
        return 1
    console.print(
        Text.assemble("\n", ("All steps verified", "bold green"), f" in {time.monotonic() - started:.1f} s.")
    )
    console.print("Next: README.md, “The first ten minutes on your own machines”.")
    return 0


def show_logs(demo: Demo) -> None:
    """What the nodes and servers said, for whoever has to find out why."""
    for log in [
        *sorted(demo.place.root.glob("*.log")),
        *sorted(demo.place.root.glob("nodes/*/**/server.log")),
    ]:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        if tail:
            demo.console.print(Text(f"   {log.relative_to(demo.place.root)}:", style="dim"))
            demo.console.print(Text("\n".join(f"     {line}" for line in tail)))


if __name__ == "__main__":
    sys.exit(main())

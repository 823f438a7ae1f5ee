"""A domain in memory and nodes in a temporary folder: whole commands run here, without SSH and without real time.

`World.run` carries out one command line as `dasctl` does and returns what an operator sees. The helper that the links
lead to is the real one, and so are the instances' folders; the clock stands until it is moved.
"""

from __future__ import annotations

import asyncio
import copy
import io
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dasctl.adapters.archives import FileArchives
from dasctl.adapters.bundles import ZipBundles
from dasctl.adapters.clock import ManualClock
from dasctl.adapters.memory_history import MemoryHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.memory_objects import MemoryObjects
from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.adapters.memory_store import MemoryStore
from dasctl.adapters.memory_working import MemoryWorking
from dasctl.adapters.rollouts import MemoryRollouts
from dasctl.adapters.streams import Fault
from dasctl.cli.call import Call, Settings
from dasctl.cli.main import run
from dasctl.core import areas
from dasctl.core.domain import Domain, Node
from dasctl.core.edits import Edit
from dasctl.core.exchange import Event, HostKey, Who
from dasctl.core.outcome import Outcome, failed
from dasctl.errors import DasctlError, NodeError, NodeUnreachable, UnknownHostKey
from dasctl.operations.ports import Context

DEFINITION = """\
format: 1
domain:
  name: shop
  id: 11111111-2222-4333-8444-555555555555
nodes:
  n1: {{host: n1.example.com, dir: {nodes}/n1}}
  n2: {{host: n2.example.com, dir: {nodes}/n2}}
  n3: {{host: n3.example.com, dir: {nodes}/n3}}
configs:
  web-config:
    start: exec ./serve ${{http.port}}
    properties: {{http.port: 8080}}
  jobs-config:
    start: exec ./work
clusters:
  web: {{config: web-config}}
  jobs: {{config: jobs-config}}
instances:
  web1: {{node: n1, cluster: web}}
  web2: {{node: n2, cluster: web}}
  jobs1: {{node: n3, cluster: jobs}}
applications:
  hello: {{targets: [web]}}
"""
MAIN = "das"  # the copy of the domain that has authority at first


class DomainStore(MemoryStore):
    """A store whose domain.yaml is also the one that lies in a repository."""

    def __init__(self, text: str, repository: MemoryRepository, **more: Any) -> None:
        super().__init__(text, **more)
        self.repository = repository
        self.write(text)

    def edit(self, edits: list[Edit]) -> Domain:  # type: ignore[override]
        domain = super().edit(edits)
        self.write(self.text or "")
        return domain

    def write(self, text: str) -> None:
        """Replace the whole file, as an editor does."""
        self.text = text
        self.repository.put_file(areas.DEFINITION, text.encode())


class ShownKeys:
    """Host keys of nodes that all show the same one; it is known once it was accepted."""

    FINGERPRINT = "SHA256:ScenariosShowThisKeyAndNoOther"

    def __init__(self, errors: dict[str, NodeError]) -> None:
        self._errors = errors
        self._known: set[str] = set()

    async def admit(
        self, name: str, node: Node, *, accept_any: bool = False, fingerprint: str | None = None
    ) -> HostKey:
        if name in self._errors:
            raise self._errors[name]
        known = node.host in self._known
        if not (known or accept_any or fingerprint == self.FINGERPRINT):
            raise UnknownHostKey(
                f"node {name} ({node.host}) shows a host key that nobody has accepted: {self.FINGERPRINT}",
                fingerprint=self.FINGERPRINT,
            )
        self._known.add(node.host)
        return HostKey(kind="ssh-ed25519", fingerprint=self.FINGERPRINT, known=known)

    def forget(self, node: Node) -> None:
        self._known.discard(node.host)

    async def install_key(
        self,
        name: str,
        node: Node,
        public_key: Path | None,
        *,
        generate: bool,
        ask_password: Callable[[str], str],
    ) -> str:
        raise NotImplementedError


@dataclass(kw_only=True)
class Das:
    """One copy of the domain: its folder, its history and its objects."""

    host: str
    store: DomainStore
    repository: MemoryRepository
    history: MemoryHistory
    objects: MemoryObjects

    def copied(self, host: str) -> Das:
        """What `cp -a` of the domain's folder makes."""
        kept = (self.store, self.repository, self.history, self.objects)
        store, repository, history, objects = copy.deepcopy(kept)
        return Das(host=host, store=store, repository=repository, history=history, objects=objects)


@dataclass(kw_only=True)
class World:
    """All copies of the domain, all nodes, the clock between them."""

    base: Path
    text: str = DEFINITION
    clock: ManualClock = field(default_factory=ManualClock)
    faults: dict[str, Fault] = field(default_factory=dict)
    errors: dict[str, NodeError] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    answer: bool | None = None  # what a person says to a question; None: nobody sits there
    questions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = self.base / "nodes"
        self.nodes.mkdir()
        self.links = MemoryLinks(faults=self.faults, errors=self.errors)
        self.keys = ShownKeys(self.errors)
        self.rollouts = MemoryRollouts()
        repository = MemoryRepository()
        store = DomainStore(
            self.text.format(nodes=self.nodes), repository, root=Path("/domains/shop"),
            sleep=_Passing(self.clock), now=self.clock.now, monotonic=self.clock.monotonic,
        )  # fmt: skip
        self.copies = {
            MAIN: Das(
                host=MAIN,
                store=store,
                repository=repository,
                history=MemoryHistory(),
                objects=MemoryObjects(repository),
            ),
        }

    @property
    def das(self) -> Das:
        return self.copies[MAIN]

    def context(self, command: str, *, das: str = MAIN, **more: Any) -> Context:
        """The context of one command in the copy `das` of the domain."""
        own = self.copies[das]
        return Context(
            store=own.store, repository=own.repository, history=own.history, objects=own.objects,
            working=MemoryWorking(own.repository, own.store),
            links=self.links, host_keys=self.keys,
            clock=self.clock, who=Who(user="anna", host=own.host, command=command), on_event=self.events.append,
            ask=self._answered if self.answer is not None else None,
            bundles=ZipBundles(), archives=FileArchives(), rollouts=self.rollouts, switches=MemoryRollouts(), **more,
        )  # fmt: skip

    def _answered(self, question: str) -> bool:
        self.questions.append(question)
        return bool(self.answer)

    def run(self, line: str, *, das: str = MAIN) -> tuple[int, str]:
        """Carry out one command line (without `dasctl`); its exit code and its output, as on a terminal's last page."""

        def carry_out(call: Call, settings: Settings, *, on_event: Any) -> Outcome:
            ctx = self.context(line, das=das, wait_s=settings.wait_s, parallel=settings.parallel)
            try:
                return asyncio.run(call.resolve()(ctx, **call.arguments))
            except DasctlError as error:
                return failed(call.command, error)

        screen = io.StringIO()
        code = run(shlex.split(line), out=screen, err=screen, runner=carry_out)
        return code, screen.getvalue()

    def transcript(self, line: str, *, das: str = MAIN) -> str:
        """The same as one text, with the exit code below it where it is not 0."""
        code, shown = self.run(line.replace("$NODES", str(self.nodes)), das=das)
        return shown + (f"exit {code}\n" if code else "")

    def everywhere(self, shown: str) -> str:
        """The same text on every machine: without this one's folders, users and numbers."""
        shown = shown.replace(str(self.nodes), "$NODES")
        shown = re.sub(r"\(\S+@\S+, pid \d+, since ", "(WHO@HOST, pid PID, since ", shown)
        # Files that a person writes on a node have the time of the real clock.
        shown = re.sub(r"\b20(?!23)\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b", "SOME TIME", shown)
        shown = re.sub(r"\b1(?!7000)\d{18}\b", "SOME_NS", shown)
        # zlib differs between machines by a few bytes.
        shown = re.sub(r"\b[1-9][\d.,]* (?:B|KiB|MiB)\b", "SOME bytes", shown)
        # Both cover where the nodes' folders are.
        shown = re.sub(
            r"digest: [0-9a-f]{12} \((epoch \d+), config id [0-9a-f]{8}\)",
            r"digest: SOME (\1, config id SOME)",
            shown,
        )
        return re.sub(r'"bytes_sent": [1-9]\d*', '"bytes_sent": "SOME"', shown)

    def instance(self, name: str, *, das: str = MAIN) -> Path:
        """The folder of an instance on its node."""
        return self.nodes / self.copies[das].store.load().instances[name].node / name

    def away(self, node: str) -> None:
        self.errors[node] = NodeUnreachable(
            f"node {node} ({node}.example.com:22): connection refused", hint="is its sshd running?"
        )

    def back(self, node: str) -> None:
        del self.errors[node]

    def wipe_node(self, node: str) -> None:
        shutil.rmtree(self.nodes / node)


@dataclass(frozen=True)
class _Passing:
    """Sleeping that lets the manual clock pass. A value, so that a copy of a store keeps its clock."""

    clock: ManualClock

    def __call__(self, seconds: float) -> None:
        self.clock.advance(seconds)

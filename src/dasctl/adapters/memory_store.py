"""A store without a disk, for tests and trials: the same text, reading and editing, and a lock in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dasctl.adapters.domain_lock import POLL_S, Holder
from dasctl.adapters.yaml_text import Document, domain_of, edited_domain, parsed, place_in, warnings_in
from dasctl.core.domain import FILE, Domain
from dasctl.core.edits import Edit
from dasctl.core.faults import Path as FaultPath
from dasctl.errors import DomainNotFound


class MemoryStore:
    """Fits ports.Store. `text` is `domain.yaml` (None: there is none); stores of one text are one object."""

    def __init__(
        self,
        text: str | None,
        *,
        root: Path = Path("/memory"),
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.text = text
        self._root = root
        self._sleep = sleep
        self._now = now
        self._monotonic = monotonic
        self._holder: Holder | None = None
        self.finish: Callable[[], None] = _nothing  # what a change that was interrupted left to do

    @property
    def root(self) -> Path:
        return self._root

    def load(self) -> Domain:
        return domain_of(self._read())

    def edit(self, edits: Sequence[Edit]) -> Domain:
        from dasctl.adapters.yaml_edit import edit_text

        text = edit_text(self._read(), edits)
        domain = edited_domain(text)
        self.text = text
        return domain

    @contextmanager
    def undoable(self) -> Iterator[Callable[[], None]]:
        text = self._read()
        yield lambda: self.write(text)

    def write(self, text: str) -> None:
        """Replace the whole file, as an editor does."""
        self.text = text

    def edited(self, edits: Sequence[Edit]) -> bytes:
        from dasctl.adapters.yaml_edit import edit_text

        text = edit_text(self._read(), edits)
        edited_domain(text)
        return text.encode()

    def written(self) -> Document:
        return parsed(self._read())

    def parsed(self, text: bytes) -> Domain:
        return domain_of(text.decode())

    def warnings(self, domain: Domain) -> tuple[str, ...]:
        return warnings_in(self._read(), domain)

    def place(self, path: FaultPath) -> str:
        return place_in(self._read(), path)

    @contextmanager
    def domain_locked(self, command: str, *, wait_s: float) -> Iterator[None]:
        deadline = self._monotonic() + wait_s
        while self._holder is not None:
            if self._monotonic() >= deadline:
                raise self._holder.locked(self._root)
            self._sleep(min(POLL_S, max(0.0, deadline - self._monotonic())))
        self._holder = Holder.me(command, self._now())
        try:
            self.finish()
            yield
        finally:
            self._holder = None

    def _read(self) -> str:
        if self.text is None:
            raise DomainNotFound(f"{self._root} is not a domain: it has no {FILE}")
        return self.text


def _nothing() -> None:
    """Nothing was interrupted."""

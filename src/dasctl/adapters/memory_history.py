"""The history in memory: for tests and dry runs; the same rules as in SQLite, and nothing survives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dasctl.adapters.outcomes_table import MOST
from dasctl.core.chain import check_chain, check_epoch, check_restart
from dasctl.core.failures import Failure, News
from dasctl.core.stamps import Acknowledged, Revision, Standing
from dasctl.core.telling import Told

KEPT_REVISIONS = 20


class MemoryHistory:
    """`kept`: of how many of the last revisions the parts are kept; those that instances confirmed stay besides."""

    def __init__(self, *, kept: int = KEPT_REVISIONS) -> None:
        self._kept = max(kept, 1)
        self._epoch = 1
        self._restored = 0
        self._next = 1
        self._chain: list[Revision] = []
        self._parts: dict[str, bytes] = {}
        self._of_revision: dict[int, frozenset[str]] = {}
        self._acknowledged: dict[str, Acknowledged] = {}
        self._failures: dict[str, Failure] = {}
        self._told: list[Told] = []

    def epoch(self) -> int:
        return self._epoch

    def raise_epoch(self, epoch: int) -> None:
        check_epoch(self._epoch, epoch)
        self._epoch = epoch

    def head(self) -> Revision | None:
        return self._chain[-1] if self._chain else None

    def find(self, standing: Standing) -> Revision | None:
        return next((revision for revision in self._chain if revision.standing == standing), None)

    def revisions(self, *, limit: int | None = None) -> list[Revision]:
        return self._chain[::-1][:limit]

    def record(self, revision: Revision, parts: Mapping[str, bytes], *, keep: int | None = None) -> Revision:
        if keep is not None:
            self._kept = max(keep, 1)
        sealed = self.foreseen(revision)
        self._chain.append(sealed)
        self._of_revision[sealed.number] = frozenset(parts)
        self._keep(parts)
        return sealed

    def foreseen(self, revision: Revision) -> Revision:
        head = self.head()
        number = max(head.number + 1 if head else 1, self._next)
        return replace(revision, number=number, when=float(revision.when)).sealed(head.digest if head else "")

    def acknowledged(self, instances: Iterable[str]) -> dict[str, Acknowledged]:
        return {name: self._acknowledged[name] for name in instances if name in self._acknowledged}

    def acknowledge(self, confirmed: Mapping[str, Acknowledged], parts: Mapping[str, bytes]) -> None:
        self._acknowledged.update(confirmed)
        self._keep(parts)

    def forget(self, instance: str) -> None:
        self._acknowledged.pop(instance, None)
        self._failures.pop(instance, None)
        self._keep({})

    def failures(self) -> dict[str, Failure]:
        return dict(self._failures)

    def remember(self, news: News) -> None:
        self._failures.update(news.failed)
        for instance in news.mended:
            self._failures.pop(instance, None)

    def tell(self, told: Told) -> None:
        if self._told and self._told[-1].same_as(told):
            told = replace(told, times=self._told.pop().times + 1)
        self._told = [*self._told, told][-MOST:]

    def told(self, revisions: Sequence[int]) -> list[Told]:
        return [told for told in self._told if told.revision in revisions]

    def part(self, digest: str) -> bytes | None:
        return self._parts.get(digest)

    def parts_of(self, number: int) -> dict[str, bytes] | None:
        if number not in {revision.number for revision in self._chain[-self._kept :]}:
            return None
        return {digest: self._parts[digest] for digest in self._of_revision[number]}

    def parts(self, number: int | None = None) -> list[str]:
        if number is None:
            return list(self._parts)
        return [digest for digest in self._of_revision.get(number, ()) if digest in self._parts]

    def restart_at(self, number: int) -> None:
        check_restart(self._chain[-1].number if self._chain else 0, number)
        self._next = number

    def restored(self, epoch: int) -> None:
        """See `ports.History`."""
        self._restored = epoch

    def outranks(self, epoch: int) -> bool:
        """See `ports.History`."""
        return epoch < self._restored

    def verify(self) -> int:
        return check_chain(self._chain)

    def close(self) -> None:
        """Nothing is open."""

    def _keep(self, parts: Mapping[str, bytes]) -> None:
        self._parts.update(parts)
        needed = {digest for ack in self._acknowledged.values() for _, digest in ack.parts}
        for revision in self._chain[-self._kept :]:
            needed |= self._of_revision[revision.number]
        self._parts = {digest: data for digest, data in self._parts.items() if digest in needed}

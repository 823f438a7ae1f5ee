"""Commands about nodes as a whole: what is told of them while they work, and what the history tells of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dasctl.core.outcome import Result
from dasctl.core.telling import told
from dasctl.errors import HistoryError
from dasctl.operations.ports import Context, Event
from dasctl.remote import words


def about_nodes(ctx: Context) -> Context:
    """The same context, whose events are about nodes: what an instance is at is said in words beside its node."""

    def tell(event: Event) -> None:
        name = event.instance if event.instance not in (None, words.SOFTWARE) else ""
        ctx.on_event(replace(event, instance=None, text=event.text or name or ""))

    return replace(ctx, on_event=tell)


def remember_nodes(ctx: Context, rows: Sequence[Result]) -> tuple[str, ...]:
    """Tell the history on which nodes the command succeeded and failed; a warning where that cannot be done."""
    try:
        head = ctx.history.head()
        named = [replace(row, instance=row.node) for row in rows]
        story = told(named, ctx.who, revision=head.number, when=ctx.clock.now()) if head is not None else None
        if story is not None:
            ctx.history.tell(story)
    except HistoryError as error:
        return (f"what failed cannot be told in the history: {error.message}",)
    return ()

"""Staging what instances will need, while their servers still run on what they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dasctl.operations.barrier import Barrier
from dasctl.operations.conversation import Conversation, Course
from dasctl.operations.ports import Link
from dasctl.operations.synchronising import Synchronisation


async def staged_ahead(
    run: Synchronisation, node: str, link: Link, names: Sequence[str]
) -> dict[str, Course]:
    """Let the node stage and verify what `names` lack, and change nothing else; what came of each, all changes named.

    The next request on this link ends the node's wait for a commit. What is staged stays for the synchronisation to come.
    """
    options = replace(run.options, together=True, all_changes=True)
    staging = replace(run, options=options, barrier=Barrier({}), reload=False)
    courses = {name: Course(want=staging.first_want(name)) for name in names}
    await Conversation(run=staging, node=node, link=link, courses=courses).held()
    return courses

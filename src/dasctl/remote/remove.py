"""`remove`: an instance leaves its node.

What lives here: what goes, and in which order: our own folder last, so that a removal that was broken off is known as one.
"""

from __future__ import annotations

import os

from dasctl.remote import asked, mounts, paths, process, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote.wire import Link

    Reply = dict[str, Any]


def remove(link: Link, header: Reply, before: Callable[[str], None]) -> Reply:
    """Answer a `remove`."""
    ways, _names = asked.each(link, header, before, _remove)
    return {"reply": words.REMOVE, "instances": ways}


def _remove(instance: asked.Asked) -> Reply:
    place, name = instance.place, instance.request["name"]
    record = process.load(place)
    if record is not None and process.members(record):
        raise Failure("%s is running (pid %d)" % (name, record["pid"]), "stop-instance %s first" % name)
    if not instance.request["keep_files"]:
        _nothing_mounted(place)
        for entry in sorted(os.listdir(place.root)):
            if os.fsencode(entry) != state.DOT:
                place.disk.remove_tree(os.fsencode(entry))
    place.disk.remove_tree(state.DOT)
    place.close()
    if not instance.request["keep_files"]:
        os.rmdir(os.path.join(instance.node, name))
    return {"name": name, "verdict": words.DONE}


def _nothing_mounted(place: state.Place) -> None:
    """What is mounted below the folder is somebody else's: it must not be emptied with it."""
    found = mounts.below(os.path.realpath(place.path))
    if found:
        raise Failure(
            "something is mounted at %s" % ", ".join(paths.printable(point) for point in found),
            "unmount it first, or take the files away by hand: --keep-files leaves them",
        )

"""What an instance is told about itself: `config/domain.yaml`, its own part of the domain, as JSON.

What lives here: reading and checking it, the environment and the commands that follow from it, and the digests that tell
whether a running server has to be restarted. What must not: processes.
"""

from __future__ import annotations

import json
import os

from dasctl.remote import handles as by_handle
from dasctl.remote import manifest, release, state, tree, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = b"config/domain.yaml"
MOST = 1 << 24  # bytes
READY = ("http", "tcp", "command", "log", "alive")
ACTIONS = ("signal", "command")
HINT = "synchronise the instance: sync-instance"


class Definition:
    """The checked definition. `raw` is the whole object."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.start: str = _text(raw, "start")
        self.env: dict[str, str] = {key: str(value) for key, value in _table(raw, "env").items()}
        for key, value in self.env.items():
            if not key or "=" in key or "\0" in key + value:
                raise Failure("config/domain.yaml: env: %r is not a variable" % key, HINT)
        ready = _table(raw, "ready")
        self.ready_kind = _word(ready, "kind", READY, "alive")
        self.ready_value = str(ready.get("value", ""))
        self.ready_timeout_s = _seconds(ready, "timeout", 30.0)
        stop = _table(raw, "stop")
        self.stop_kind = _word(stop, "kind", ACTIONS, "signal")
        self.stop_value = str(stop.get("value", "TERM"))
        self.stop_grace_s = _seconds(stop, "grace", 10.0)
        self.reload: tuple[str, str] | None = None
        if raw.get("reload") is not None:
            reload = _table(raw, "reload")
            self.reload = (_word(reload, "kind", ACTIONS, "signal"), str(reload.get("value", "HUP")))
        self.restart_on = [str(pattern) for pattern in raw.get("restart_on") or ()]

    def digest(self) -> str:
        """The digest of what a running server was started with."""
        relevant = [self.start, self.env, self.raw.get("properties")]
        return manifest.digest_of(json.dumps(relevant, sort_keys=True).encode("ascii"))

    @property
    def node(self) -> str:
        """The name of the instance's node, for what a person is told to type."""
        return str(_table(self.raw, "instance").get("node", "NODE"))

    def own_variables(self, node: str, folder: str, record: dict[str, Any] | None = None) -> dict[str, str]:
        """The variables that only the node can know, and those that name the instance; then `env`. `record`: of a server
        that runs, with the release that it was started with."""
        instance, domain = _table(self.raw, "instance"), _table(self.raw, "domain")
        own = {
            "DASCTL_DOMAIN": str(domain.get("name", "")),
            "DASCTL_INSTANCE": str(instance.get("name", "")),
            "DASCTL_CLUSTER": str(instance.get("cluster") or ""),
            "DASCTL_NODE": str(instance.get("node", "")),
            "DASCTL_INSTANCE_DIR": folder,
            "DASCTL_NODE_DIR": node,
        }
        software = release.of(record, node)
        if software is not None:
            own["DASCTL_NODE_SOFTWARE"] = software
        own.update({key: self.placed(value, node, folder, software) for key, value in self.env.items()})
        return own

    def needs_release(self) -> bool:
        """Whether the server is started, judged or stopped with the node's release."""
        return release.is_named(self.raw)

    @staticmethod
    def placed(text: str, node: str, folder: str, software: str | None = None) -> str:
        """`text` with the node's own directories put in; `software`: that of its release."""
        filled = text.replace("${instance.dir}", folder).replace("${node.dir}", node)
        return filled.replace("${node.software}", software) if software is not None else filled

    def by_hand(self, node: str, folder: str) -> str:
        """What a person types on the node to see the server start."""
        import shlex

        variables = self.own_variables(node, folder)
        given = " ".join("%s=%s" % (key, shlex.quote(value)) for key, value in variables.items())
        return "cd %s && env %s /bin/sh -c %s" % (shlex.quote(folder), given, shlex.quote(self.start))


def load(place: state.Place) -> Definition:
    """The instance's definition. Raises Failure where there is none that can be used."""
    where = os.path.join(place.path, "config/domain.yaml")
    data = by_handle.contents(place.handles, PATH, MOST)
    if data is None:
        raise Failure("%s is missing" % where, HINT)
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        raise Failure("%s is not what dasctl wrote" % where, HINT + " --full") from None
    if not isinstance(raw, dict):
        raise Failure("%s is not what dasctl wrote" % where, HINT + " --full")
    number = raw.get("format")
    if type(number) is not int or number > words.STATE_FORMAT:
        raise Failure("%s was written by a newer dasctl (format %s)" % (where, number), "use that dasctl")
    try:
        return Definition(raw)
    except (TypeError, AttributeError):
        raise Failure("%s is not what dasctl wrote" % where, HINT + " --full") from None


def outdated(place: state.Place, kept: state.Kept, record: dict[str, Any]) -> bool:
    """Whether a running server, by its process record, runs with something older than what is on disk."""
    try:
        known = load(place)
    except Failure:
        return True  # what it was started with is not there any more
    if known.digest() != record.get("definition"):
        return True
    if known.needs_release() and release.differs(record, os.path.dirname(place.path)):
        return True
    return files_digest(place, kept, known.restart_on) != record.get("files")


def files_digest(place: state.Place, kept: state.Kept, restart_on: list[str]) -> str:
    """The digest over the synchronised files on disk for which a running server has to restart.

    Only files that are not as they were synchronised are read. The definition itself counts by `Definition.digest`. What
    synchronisation did not put there (a server's own caches) does not count.
    """
    import hashlib
    import re

    patterns = [re.compile(pattern) for pattern in restart_on]
    digest = hashlib.sha256()
    lines = kept.ancestor()
    for path in sorted(lines):
        text = path.decode("latin-1")
        if path == PATH or not any(pattern.search(text) for pattern in patterns):
            continue
        found = _identity(place, path, lines[path])
        if found is not None:
            digest.update(b"%d %s %s\0" % (len(path), path, found))
    return digest.hexdigest()


def _identity(place: state.Place, path: bytes, line: bytes) -> bytes | None:
    """Kind and content of what is on disk at `path`."""
    try:
        status = by_handle.lstat(place.handles, path)
        if status is None:
            return None
        entry = tree.entry_of(place.handles, path, status)
        known = manifest.parse(line)
        if entry.kind == "f":
            same = (known.kind, known.size, known.mtime) == ("f", entry.size, entry.mtime)
            entry = entry._replace(digest=known.digest if same else by_handle.hashed(place.handles, path))
    except OSError:
        return b"?"
    return entry.kind.encode() + b" " + entry.digest


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Failure("config/domain.yaml: %s: %r cannot be used" % (key, value), HINT)
    return value


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Failure("config/domain.yaml: %s: %r cannot be used" % (key, value), HINT)
    return value


def _word(raw: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = raw.get(key, default)
    if value not in allowed:
        raise Failure("config/domain.yaml: %s: %r is none of %s" % (key, value, ", ".join(allowed)), HINT)
    return str(value)


def _seconds(raw: dict[str, Any], key: str, default: float) -> float:
    value = raw.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise Failure("config/domain.yaml: %s: %r seconds" % (key, value), HINT)
    return float(value)

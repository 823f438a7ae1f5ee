"""A bundle as a file: a zip with a manifest, parts and contents, each under a digest (docs/how-to/offline.md).

What lives here: opening, checking, reading. Nothing in it is believed before its digest was seen. What must not: which
instances are meant, the conversation with the helper.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib

from dasctl.remote import manifest as manifests
from dasctl.remote import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FORMAT = 1
MANIFEST = "MANIFEST.json"
PROGRAM = "__main__.py"
PARTS = "parts/"
CONTENTS = "contents/"
MOST_MANIFEST = 1 << 28  # bytes: a million contents fit
MOST_PART = 1 << 30  # bytes
PIECE = 1 << 18  # bytes read at a time
NAMED = 5  # damaged members in one message

DAMAGED = "copy it again, and compare its sha256sum with what export-sync-bundle printed"

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)


class BundleError(Exception):
    """The file is no bundle, or a damaged one; `hint` says what to do. `usage`: the words of the command are wrong."""

    def __init__(self, message: str, hint: str = "", *, usage: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.usage = usage


class Bundle:
    """An open bundle. `close` may be called twice. Members are read as they are asked for, large ones in pieces."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise BundleError("%s cannot be read: %s" % (path, error.strerror or error), usage=True) from None
        except _BROKEN as error:
            raise BundleError("%s is not a bundle, or is cut off: %s" % (path, error), DAMAGED) from None
        try:
            self.manifest = self._manifest()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._zip.close()

    def check(self) -> None:
        """Read every member once. Raises BundleError with those that are not what the manifest says."""
        damaged = [name for name, digest, size in self._promised() if not self._holds(name, digest, size)]
        if damaged:
            more = " and %d more" % (len(damaged) - NAMED) if len(damaged) > NAMED else ""
            raise BundleError(
                "%s is damaged: %s%s" % (self.path, ", ".join(damaged[:NAMED]), more),
                "nothing was changed; " + DAMAGED,
            )

    def part(self, digest: str) -> bytes:
        """The bytes of a part, or of its changes against its `base`."""
        return b"".join(self._pieces(PARTS + digest))

    def has(self, digest: str) -> bool:
        """Whether the content with this SHA-256 (hex) is in the bundle."""
        return digest in self.manifest["contents"]

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The content with this SHA-256, in pieces; an empty one has none."""
        return self._pieces(CONTENTS + digest)

    def _pieces(self, name: str) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as member:
                while True:
                    piece = member.read(PIECE)
                    if not piece:
                        return
                    yield piece
        except _BROKEN:
            raise BundleError("%s is damaged: %s" % (self.path, name), DAMAGED) from None
        except OSError as error:
            raise BundleError("%s cannot be read: %s" % (self.path, error.strerror or error)) from None

    def _promised(self) -> Iterator[tuple[str, str, int]]:
        """(member, SHA-256, bytes) of all but the manifest itself."""
        for name, (digest, size) in self.manifest["members"].items():
            yield name, digest, size
        for digest, size in self.manifest["contents"].items():
            yield CONTENTS + digest, digest, size

    def _holds(self, name: str, digest: str, size: int) -> bool:
        seen, left = hashlib.sha256(), size
        try:
            for piece in self._pieces(name):
                left -= len(piece)
                if left < 0:  # a member that unpacks without end
                    return False
                seen.update(piece)
        except BundleError:
            return False
        return left == 0 and seen.hexdigest() == digest

    def _manifest(self) -> dict[str, Any]:
        try:
            if self._zip.getinfo(MANIFEST).file_size > MOST_MANIFEST:
                raise ValueError("too large")
            document = json.loads(self._zip.read(MANIFEST))
            if not isinstance(document, dict):
                raise ValueError("not an object")
        except (*_BROKEN, OSError, RecursionError) as error:
            raise BundleError(
                "%s has no %s that can be read: %s" % (self.path, MANIFEST, error), DAMAGED
            ) from None
        if isinstance(document.get("format"), int) and document["format"] > FORMAT:
            raise BundleError(
                "%s has format %d, and this knows format %d" % (self.path, document["format"], FORMAT),
                "run it by itself: python3 %s" % self.path,
            )
        try:
            checked(document)
        except (LookupError, AttributeError, TypeError, ValueError, paths.PathError) as error:
            raise BundleError("%s has a %s that does not fit: %r" % (self.path, MANIFEST, error)) from None
        return document


def checked(document: dict[str, Any]) -> None:
    """Raise where the manifest has not the shape that this format promises."""
    if document["format"] != FORMAT or document["bundle"] != "dasctl":
        raise ValueError("format")
    for key in ("id", "name"):
        _is(document["domain"][key], str)
    lead = document["lead"]
    for key in ("epoch", "config_id", "revision"):
        _is(lead[key], int)
    _digest(lead["digest"])
    for standing in [*document["chain"], *([document["since"]] if document["since"] else [])]:
        _is(standing[0], int)
        _digest(standing[1])
    for instance in document["instances"]:
        _is(instance["node"], str)
        _is(instance["dir"], str)
        paths.check_name(_is(instance["request"]["name"], str))
        for name, digest in instance["request"]["parts"]:
            _is(name, str)
            _digest(digest)
    for digest, part in document["parts"].items():
        _digest(digest)
        if part["base"] is not None:
            _digest(part["base"])
        if not 0 <= _is(part["size"], int) <= MOST_PART:
            raise ValueError(part)
    for name, (digest, size) in document["members"].items():
        _is(name, str)
        _digest(digest)
        _is(size, int)
    for digest, size in document["contents"].items():
        _digest(digest)
        _is(size, int)


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError("%r is not %s" % (value, kind.__name__))
    return value


def _digest(value: Any) -> None:
    if len(_is(value, str)) != 64 or value.strip("0123456789abcdef"):
        raise ValueError("%r is not a digest" % value[:80])


def paths_of(data: bytes, digests: set[str]) -> list[str]:
    """The paths in a part's canonical bytes whose contents are among `digests`."""
    entries = manifests.decode(data) if data else []
    return [paths.printable(entry.path) for entry in entries if entry.digest.decode("latin-1") in digests]

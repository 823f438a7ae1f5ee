"""A login with one key in one round trip, where it takes four otherwise: on a long line that is most of a short command.

What lives here: what of the login is said without waiting to be asked. What must not: which keys there are, what a refusal
amounts to.

    asyncssh asks for the service, then tries to log in with nothing, then asks whether the key would do, then signs. With
    one key from a file there is nothing to find out: the signature goes at once, right behind the request for the service.
    The server looks at one after the other (RFC 4252 lets a client sign unasked). Whatever it refuses is tried by
    asyncssh as ever: it goes on with the methods that the server names.
    What is used of asyncssh here has no public name: where any of it is missing or not as expected, asyncssh logs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import asyncssh

_KEY = b"publickey"
_ASKS, _SIGNS = b"\0", b"\1"  # a boolean of RFC 4251
_SURE = (
    b"ssh-ed25519",
    b"ecdsa-sha2-",
)  # algorithms of which the server need not say first how it wants them signed
_USED = (
    "_auth_methods",
    "_auth_in_progress",
    "send_userauth_request",
    "send_service_request",
    "try_next_auth",
)


def is_one_file(pairs: Sequence[object]) -> bool:
    """Whether all there is to log in with is one key from a file: an agent may want somebody to touch a device first."""
    return len(pairs) == 1 and isinstance(pairs[0], asyncssh.SSHKey) and pairs[0].algorithm.startswith(_SURE)


def log_in_at_once(connection: asyncssh.SSHClientConnection) -> None:
    """Let `connection`, which has one key of a sure algorithm, sign without being asked to. To be called as it is made."""
    inner = cast(Any, connection)
    if any(not hasattr(inner, name) for name in _USED) or inner._auth_methods != [b"none"]:
        return
    ask, request, go_on = inner.send_service_request, inner.send_userauth_request, inner.try_next_auth
    early = False  # the login is under way before the service was granted

    async def signed(method: bytes, *args: bytes, key: object = None, trivial: bool = True) -> None:
        pair = getattr(inner._auth, "_keypair", None)
        if method == _KEY and key is None and pair is not None and args[:1] == (_ASKS,):
            await request(method, _SIGNS, *args[1:], key=pair, trivial=False)
        else:
            await request(method, *args, key=key, trivial=trivial)

    def asked(service: bytes) -> None:
        nonlocal early
        ask(service)
        early = inner._auth_in_progress = True
        inner._auth_methods = [_KEY]
        go_on()

    def next_one(*, next_method: bool = False) -> None:
        nonlocal early
        if early and not next_method:  # the service was granted
            early = False
            return
        go_on(next_method=next_method)

    inner.send_service_request, inner.send_userauth_request, inner.try_next_auth = asked, signed, next_one

"""The embedded SSH server as ports.SshServer: what the command says, in the server's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dasctl.errors import OperationFailed

HOST_KEY = "ssh_host_ed25519_key"  # in the folder `.dasctl-ssh` of what is served


class EmbeddedServer:
    """Fits ports.SshServer. asyncssh is imported when the server starts."""

    async def serve(
        self,
        *,
        dir: Path,
        authorized_keys: Path,
        address: str,
        port: int,
        host_key: Path | None,
        on_ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        from dasctl.adapters.embedded import Ready, Service, serve

        folder = dir.expanduser().absolute()
        own = folder / ".dasctl-ssh"
        if host_key is None:
            try:
                own.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise OperationFailed(f"{own} cannot be made: {error.strerror}") from error

        def ready(facts: Ready) -> None:
            on_ready({"listening_on": f"{address}:{facts.port}", "host_key": facts.fingerprint})

        service = Service(
            folder=folder,
            authorized_keys=authorized_keys.expanduser().absolute(),
            host_key=own / HOST_KEY if host_key is None else host_key.expanduser().absolute(),
            host=address,
            port=port,
        )
        await serve(service, on_ready=ready)

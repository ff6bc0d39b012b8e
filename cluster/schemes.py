"""What servers at known addresses speak: the names of it, in `train.Server` and in targets, and what a server then listens on."""

from __future__ import annotations

import os

from ..graph import errors

#: Names the protocol for programs that do not say which, or say "grpc", as programs of TensorFlow do.
VARIABLE = "WEFT_PROTOCOL"
#: By protocol, what a server listens on: at its address, and for those that are nearer.
TRANSPORTS = {"weft": ("tcp", "shm", "inproc"), "flight": ("flight", "inproc")}
_UNSAID = "grpc"


def protocol(name: str | None) -> str:
    """Which protocol a name stands for. Raises NotFoundError for none that there is."""
    found, where, known = name or _UNSAID, "", [*TRANSPORTS, _UNSAID]
    if found == _UNSAID:
        found, where, known = os.environ.get(VARIABLE) or "weft", f", which {VARIABLE} names", [*TRANSPORTS]
    if found not in TRANSPORTS:
        raise errors.NotFoundError(None, None, f"There is no protocol '{found}'{where}; known: {', '.join(known)}")
    return found


def network(name: str | None) -> str:
    """The transport at a server's address, by the name of its protocol. Raises NotFoundError."""
    return TRANSPORTS[protocol(name)][0]

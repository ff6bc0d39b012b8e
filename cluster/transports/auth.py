"""How two endpoints prove to each other that they know the cluster's secret, before any message: no I/O here.

Each side's proof is an HMAC over the whole exchange, with both sides' random challenges and the prover's role, so none can
be replayed or reflected. A stranger gets no proof: the client's comes first. This authenticates; it does not encrypt.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Generator

from ...graph import errors

SECRET_SIZE = 32
#: How long a peer may take to prove itself, in seconds.
HANDSHAKE_TIMEOUT = 10.0

_MAGIC = b"WEFTAUT1"
_NONCE = 32
_PROOF = 32
_NAME = 128
HELLO_SIZE = len(_MAGIC) + _NONCE + _NAME
CHALLENGE_SIZE = len(_MAGIC) + _NONCE

#: Yields (bytes to send, how many bytes to read then) and is sent what was read; returns the peer's name.
Handshake = Generator[tuple[bytes, int], bytes, str]


def new_secret() -> bytes:
    """A fresh secret for a cluster."""
    return secrets.token_bytes(SECRET_SIZE)


def check_secret(secret: bytes) -> None:
    """Raises ValueError unless `secret` is 32 bytes; the message does not show it."""
    if not isinstance(secret, bytes) or len(secret) != SECRET_SIZE:
        raise ValueError(f"the cluster's secret is {SECRET_SIZE} bytes; what was given is not")


def same_secret(mine: bytes, theirs: bytes) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(mine, theirs)


def client(secret: bytes, name: str) -> Handshake:
    """The side that connects; `name` is what the server will call it (at most 128 bytes). Raises UnauthenticatedError."""
    hello = _MAGIC + secrets.token_bytes(_NONCE) + name.encode()[:_NAME].ljust(_NAME, b"\0")
    challenge = yield hello, CHALLENGE_SIZE
    _check_magic(challenge)
    transcript = hello + challenge
    proof = yield _prove(secret, b"client", transcript), _PROOF
    if not hmac.compare_digest(proof, _prove(secret, b"server", transcript)):
        raise errors.UnauthenticatedError(None, None, "its proof does not fit our secret")
    return ""


def server(secret: bytes) -> Handshake:
    """The side that listens; returns the client's name. Raises UnauthenticatedError."""
    hello = yield b"", HELLO_SIZE
    _check_magic(hello)
    challenge = _MAGIC + secrets.token_bytes(_NONCE)
    transcript = hello + challenge
    proof = yield challenge, _PROOF
    if not hmac.compare_digest(proof, _prove(secret, b"client", transcript)):
        raise errors.UnauthenticatedError(None, None, "its proof does not fit our secret")
    yield _prove(secret, b"server", transcript), 0
    return hello[-_NAME:].rstrip(b"\0").decode(errors="replace")


def _prove(secret: bytes, role: bytes, transcript: bytes) -> bytes:
    return hmac.digest(secret, role + transcript, "sha256")


def _check_magic(received: bytes) -> None:
    magic = received[: len(_MAGIC)]
    if magic != _MAGIC:
        raise errors.UnauthenticatedError(None, None, f"expected {_MAGIC!r} to begin with, got {magic!r}")

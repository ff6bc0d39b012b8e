"""Where a cluster without Ray has its secret from: a file, the environment, or what the tasks of one machine share."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..graph import errors
from .transports.auth import SECRET_SIZE

FILE_VARIABLE = "WEFT_CLUSTER_SECRET_FILE"
VARIABLE = "WEFT_CLUSTER_SECRET"
_DIGITS = 2 * SECRET_SIZE
_HOW = (
    f"Make one with `python -c 'import secrets; print(secrets.token_hex({SECRET_SIZE}))' > FILE`, in a file that only you "
    f"can read, bring the same file to every host, and let {FILE_VARIABLE} name it there (or {VARIABLE} hold its text)."
)


def cluster_secret(addresses: Iterable[str]) -> bytes:
    """The secret of the cluster whose tasks have these addresses, `host:port`.

    It is what the file says that WEFT_CLUSTER_SECRET_FILE names, else WEFT_CLUSTER_SECRET; else, if all addresses are this
    machine's, what a file of this user's says, made when it is first wanted. Raises FailedPreconditionError.
    """
    if path := os.environ.get(FILE_VARIABLE):
        return _from_file(Path(path))
    if text := os.environ.get(VARIABLE):
        return _parsed(text, f"the environment variable {VARIABLE}")
    elsewhere = sorted(address for address in set(addresses) if not is_local(host_of(address)))
    if elsewhere:
        where = ", ".join(elsewhere[:3]) + (", ..." if len(elsewhere) > 3 else "")
        raise _unfit(f"A cluster on several hosts (as {where}) needs a secret that all its tasks know. {_HOW}")
    return _users_own()


def is_local(host: str) -> bool:
    """Whether an address belongs to this machine. False for a host that is not known."""
    with suppress(OSError):
        for family, kind, _, _, place in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe, suppress(OSError):
                probe.bind(place)  # nothing else tells for all systems; the port is any free one
                return True
    return False


def host_of(address: str) -> str:
    """The host of `host:port`."""
    return address.rpartition(":")[0].strip("[]")


def same_place(one: str, other: str) -> bool:
    """Whether two `host:port` mean the same, however they are spelled."""
    if one == other:
        return True
    if one.rpartition(":")[2] != other.rpartition(":")[2]:
        return False
    found = []
    for address in (one, other):
        try:
            rows = socket.getaddrinfo(host_of(address), 0, type=socket.SOCK_STREAM)
        except OSError:
            return False
        found.append({row[4][0] for row in rows})
    return not found[0].isdisjoint(found[1])


def _users_own() -> bytes:
    """The secret of this user on this machine. Processes that start at once agree on one."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weft" / "cluster-secret"
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(path)
    except OSError as error:
        raise _unfit(f"The cluster's secret cannot be kept in {path}: {error.strerror or error}. {_HOW}") from None
    return _from_file(path, mine=True)


def _make(path: Path) -> None:
    """Write a new secret, whole from the moment it has its name, unless somebody else was faster."""
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(SECRET_SIZE)}\n")
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _from_file(path: Path, mine: bool = False) -> bytes:
    """`mine`: nobody has said that it is to be trusted, so it must be this user's, and nobody else's."""
    try:
        with path.open() as file:
            status = os.fstat(file.fileno())
            mode = status.st_mode
            if mine and (status.st_uid != os.geteuid() or mode & (stat.S_IRWXG | stat.S_IRWXO)):
                what = (
                    f"The file of the cluster's secret, {path}, is not this user's alone, as it was when it was made:"
                )
                raise _unfit(f"{what} others can know what it says. Remove it, and make the folder yours.")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                what = f"The file of the cluster's secret, {path}, is open to everybody: `chmod 600 {path}` first"
                raise _unfit(f"{what}, and replace the secret if others can have read it.")
            text = file.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _unfit(f"The cluster's secret cannot be read from {path}: {why}. {_HOW}") from None
    return _parsed(text, f"the file {path}")


def _parsed(text: str, where: str) -> bytes:
    """The secret that a text holds. What the text is stays unsaid."""
    text = text.strip()
    with suppress(ValueError):
        if len(text) == _DIGITS and text.isascii():
            return bytes.fromhex(text)
    raise _unfit(f"The cluster's secret is {_DIGITS} hexadecimal digits; what {where} holds is not. {_HOW}")


def _unfit(text: str) -> errors.FailedPreconditionError:
    return errors.FailedPreconditionError(None, None, text)

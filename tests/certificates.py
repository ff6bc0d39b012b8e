"""Certificates for the tests of TLS: an authority of their own, which signs for addresses."""

from __future__ import annotations

import atexit
import datetime
import ipaddress
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from weft.cluster.transports import tls


class Authority:
    """Signs certificates for addresses, into files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(self.name, self.key, ()).public_bytes(serialization.Encoding.PEM))

    def certificate(self, name: str, *addresses: str) -> dict[str, str]:
        """The variables with which a task shows a certificate for some addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        shown, secret = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        shown.write_bytes(self._sign(subject, key, addresses).public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return {tls.USE: "1", tls.CERTIFICATE: str(shown), tls.KEY: str(secret), tls.AUTHORITY: str(self.file)}

    def _sign(self, subject: x509.Name, key: Any, addresses: tuple[str, ...]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(),
            now - datetime.timedelta(days=1), now + datetime.timedelta(days=1),
        ).add_extension(x509.BasicConstraints(ca=not addresses, path_length=None), critical=True)  # fmt: skip
        if addresses:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in addresses])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@cache
def here() -> dict[str, str]:
    """The variables with which tasks on 127.0.0.1 trust each other."""
    folder = tempfile.mkdtemp(prefix="certificates-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Authority(Path(folder), "authority").certificate("task", "127.0.0.1")


@contextmanager
def trusted() -> Iterator[None]:
    """A block in which the environment asks for TLS, with these."""
    before = {name: os.environ.get(name) for name in here()}
    os.environ.update(here())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

"""Where a server listens, and what it shows for itself: wrong ones are said before it is up."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from llmsizer.errors import InputError


def has_certificate(certificate: Path | None, key: Path | None) -> bool:
    """Whether there is one. Raises InputError where it cannot be used."""
    if certificate is None and key is None:
        return False
    if certificate is None or key is None:
        raise InputError("HTTPS needs both --tls-certificate and --tls-key")
    for file in (certificate, key):
        if not file.is_file():
            raise InputError(f"{file}: no such file; give a PEM file")
    try:
        # An empty password: a key that wants one is refused and not asked about on the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"{certificate} and {key}: no certificate with its key without a password ({why}); give both in PEM"
        ) from None
    return True


def listening_at(host: str, port: int) -> socket.socket:
    """Bound before anything is said of an address. Raises InputError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # Python says the address once more
        raise InputError(f"{host}:{port} cannot be served ({why}); give another --port") from None

"""Where the page is bound, checked before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from mer_r1.errors import InputError
from mer_r1.text import printable


def require_address(host: str, port: int | None) -> None:
    """Raises InputError for a host or a port that cannot be bound now; without `port` any free one will do."""
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"--port {port}: give a number from 1 to 65535")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:  # a name that is none, such as a..b, is no error of the system's
        raise cannot_bind(host, port, error) from None


def cannot_bind(host: str, port: int | None, error: Exception) -> InputError:
    """What is said of a host or a port that the system refuses."""
    where = f"--host {printable(host)}" if port is None else f"--host {printable(host)} --port {port}"
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{where}: cannot be bound ({reason}); give another host or port")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at this host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"

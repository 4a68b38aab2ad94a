"""Loopback ports that stay ours.

Asking the kernel for "any free port" has two traps. Between the answer and the server's bind another process
may take it. And it comes from the range of outgoing connections: while a server is down for a restart, a
client that keeps knocking can be given the server's own port as its source, connect to itself, and keep the
server out.
"""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

from syncd.errors import PlatformError

LOOPBACK = "127.0.0.1"
LOWEST_PORT = 15_000
OUTGOING_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 200


class Port:
    """A reserved port: no other `Port` here has its `number`, until `release()` or the end of the process."""

    def __init__(self) -> None:
        for _ in range(TRIES):
            self.number = random.randrange(LOWEST_PORT, _first_outgoing_port())  # noqa: S311 - no secret
            claim = _claim(self.number)
            if claim is not None:
                self._claim = claim
                return
        raise PlatformError(f"no free port on {LOOPBACK} after {TRIES} tries: stop what listens there")

    def release(self) -> None:
        self._claim.close()


def free_port() -> int:
    """The number of a port that stays reserved as long as this process lives."""
    port = Port()
    _kept.append(port)
    return port.number


_kept: list[Port] = []


def _first_outgoing_port() -> int:
    try:
        first = int(OUTGOING_RANGE.read_text().split()[0])
    except OSError:
        first = 32_768  # Linux's default
    return first if first > LOWEST_PORT + TRIES else 65_536


def _claim(number: int) -> socket.socket | None:
    """Takes a name that only one process can hold, then checks whether anything else listens on the port."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0syncd-port-{number}")  # an abstract name: no file, gone with its process
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    if _is_free(number):
        return claim
    claim.close()
    return None


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((LOOPBACK, number))
        except OSError:
            return False
        return True

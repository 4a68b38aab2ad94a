"""The right to write for one lane: a lease with an epoch in the target Redis."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any

from syncd.errors import FatalError, FencedError
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore


def _kernel() -> str:
    """Names this boot of this machine and this process namespace: only within one can a process id be looked up."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return secrets.token_hex(8)
    return f"{boot}.{namespace}"


def new_owner() -> str:
    """A name for this process that no other one ever has."""
    return f"{socket.gethostname()}/{_kernel()}/{os.getpid()}/{secrets.token_hex(4)}"


def is_dead(lease: str) -> bool:
    """Whether the holder is known to be gone: a process of this kernel that no longer runs.

    Then its lease need not run out first, and a daemon that was killed goes on at once when it is started again.
    """
    owner, _, _ = lease.rpartition(":")
    parts = owner.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != _kernel() or not parts[2].isdigit():
        return False
    process = int(parts[2])
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)  # signal 0 only asks; /proc may hide the processes of others
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Lease:
    """The right to write for one lane. The functions check it in every call (see lua/)."""

    def __init__(self, store: RedisStore, keys: ControlKeys, owner: str, ttl_s: float) -> None:
        self._store, self._keys, self._owner = store, keys, owner
        self.ttl_ms = round(ttl_s * 1000)
        self.value = ""

    def acquire(self) -> int:
        """Take the lease with a new epoch. Returns how many partitions the contract had before.

        Raises FencedError while another daemon holds it, or while one holds a lease of another layout.
        """
        part = self._keys.partition
        dead: list[str] = []
        while True:
            args = [self._owner, self.ttl_ms, part.number, part.count, *dead]
            reply = self._call("syncd_lease", args)
            if reply[0] == b"held":
                self.value = reply[1].decode()
                return int(reply[2])
            holder = reply[1].decode()
            if holder in dead or not is_dead(holder):
                raise FencedError(self._why_not(reply[0], holder, reply), holder)
            dead.append(holder)

    def _why_not(self, word: bytes, holder: str, reply: list[bytes]) -> str:
        if word != b"layout":
            return f"{holder} holds the lease of {self._keys}; standing by"
        return (
            f"{holder} works on {self._keys.contract} in {reply[2].decode()} partition(s), not in "
            f"{self._keys.partition.count}; standing by until all daemons of the other kind have stopped"
        )

    def renew(self) -> None:
        """Hold on to the lease. Raises FencedError when it was lost."""
        self._check(self._call("syncd_renew", [self.value, self.ttl_ms]))

    def forget_position(self, then: str) -> None:
        """Give up the position. `then` is what the next start does: `sweep`, `keep` or `pause` (see Position.next)."""
        self._check(self._call("syncd_forget", [self.value, then]))

    def release(self) -> None:
        """Give the lease back, so that a standby need not wait for it to run out."""
        self._call("syncd_release", [self.value])

    def _call(self, name: str, args: list[Any]) -> list[bytes]:
        try:
            reply: list[bytes] = self._store.call(name, [self._keys.lease, self._keys.position], args)
        except FatalError as error:
            if "WRONGTYPE" not in str(error):
                raise
            where = f"{self._keys.lease} or {self._keys.position}"
            raise FatalError(
                "redis", f"{where} holds another Redis type; delete that key for a new snapshot"
            ) from error
        if reply[0] == b"version":
            raise newer_protocol(reply)
        return reply

    def _check(self, reply: list[bytes]) -> None:
        if reply[0] == b"fenced":
            raise fenced(str(self._keys), reply)


def fenced(contract: str, reply: list[bytes]) -> FencedError:
    """The error for a `fenced` reply."""
    word, holder = reply[1].decode(), reply[2].decode()
    if word == "held":
        return FencedError(f"{holder} took the lease of {contract}; nothing was written", holder)
    return FencedError(
        f"the {word} of {contract} is gone from Redis, and nobody else works (it ran out, or was flushed, deleted "
        "or evicted); nothing was written, the lane takes up the lease again",
        "",
    )


def newer_protocol(reply: list[bytes]) -> FatalError:
    """The error for a `version` reply."""
    return FatalError(
        "redis", f"another syncd loaded functions of protocol {reply[1].decode()}; upgrade this daemon"
    )

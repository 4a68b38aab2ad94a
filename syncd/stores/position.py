"""What a lane keeps in the target Redis: lease, position, dead letters, and its names for them.

They live beside the data, so that a Redis that fails over or is restored rolls back data and position together.
The braces make every control key of a contract share one slot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import json_util
from bson.timestamp import Timestamp

from syncd.errors import FencedError, FatalError
from syncd.plan.codec import CODEC
from syncd.stores.mongo import ZERO_TIME, Document
from syncd.stores.redis import RedisStore, translated

SNAPSHOT, SWEEP, STREAM = "snapshot", "sweep", "stream"


@dataclass(frozen=True, slots=True)
class ControlKeys:
    """Names of a contract's own keys in Redis."""

    contract: str

    def _name(self, suffix: str) -> str:
        return f"syncd:{{{self.contract}}}:{suffix}"

    @property
    def lease(self) -> str:
        """String "owner:epoch" with a time to live."""
        return self._name("lease")

    @property
    def position(self) -> str:
        """Hash, see Position."""
        return self._name("position")

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return self._name("dead")

    @property
    def indexes(self) -> str:
        """Hash: alias -> generation, fingerprint and real name, as JSON."""
        return self._name("indexes")

    def keys_by_id(self, projection: str) -> str:
        """Hash: _id -> key, where the key is not a function of _id."""
        return self._name(f"keys:{projection}")

    def ids_by_key(self, projection: str) -> str:
        """Hash: key -> _id, the same read backwards."""
        return self._name(f"owners:{projection}")


@dataclass(slots=True)
class Position:
    """How far a lane has durably got."""

    token: Document | None = None
    """Resume token; None means that a snapshot has to begin."""
    time: Timestamp = ZERO_TIME
    """Cluster time of the token."""
    mark: Timestamp = ZERO_TIME
    """Latest time of any read that was applied: a change up to here may already show, see floors."""
    phase: str = STREAM
    cursor: Document | None = None
    """{"_id": last} of the snapshot's last applied document; None before the first."""
    copied: int = 0
    """Documents that the snapshot has applied."""
    fingerprint: str = ""
    owned: list[list[str]] = field(default_factory=list)
    """Projection, key template and type of everything this contract may have written."""

    def encoded(self) -> list[str | bytes]:
        """Fields and values for the hash."""
        return [
            "token", "" if self.token is None else json_util.dumps(self.token),
            "time", encode_time(self.time),
            "mark", encode_time(self.mark),
            "phase", self.phase,
            "cursor", b"" if self.cursor is None else bson.encode(self.cursor),
            "copied", str(self.copied),
            "fingerprint", self.fingerprint,
            "owned", json.dumps(self.owned),
        ]  # fmt: skip


def encode_time(time: Timestamp) -> str:
    """Seconds and increment, "1700000000:1"."""
    return f"{time.time}:{time.inc}"


def _decode_time(text: bytes) -> Timestamp:
    seconds, _, increment = text.partition(b":")
    return Timestamp(int(seconds), int(increment or 0))


def load_position(store: RedisStore, keys: ControlKeys) -> Position:
    """Read the position; an empty one where there is none."""
    with translated():
        raw: dict[bytes, bytes] = store.client.hgetall(keys.position)  # type: ignore[assignment]
    try:
        return _decode(raw)
    except (ValueError, KeyError, bson.errors.InvalidBSON) as error:
        raise FatalError(
            "redis",
            f"{keys.position} does not hold a position ({type(error).__name__}); delete that key for a new snapshot",
        ) from None


def _decode(raw: dict[bytes, bytes]) -> Position:
    position = Position(
        fingerprint=raw.get(b"fingerprint", b"").decode(), owned=json.loads(raw.get(b"owned", b"[]"))
    )
    if not raw.get(b"token") or b"phase" not in raw:
        return position
    position.token = json_util.loads(raw[b"token"].decode())
    position.time, position.mark = _decode_time(raw[b"time"]), _decode_time(raw[b"mark"])
    position.phase, position.copied = raw[b"phase"].decode(), int(raw[b"copied"])
    if raw[b"cursor"]:
        position.cursor = bson.decode(raw[b"cursor"], CODEC)
    return position


class Lease:
    """The right to write for one lane. The functions check it in every call (see functions.lua)."""

    def __init__(self, store: RedisStore, keys: ControlKeys, owner: str, ttl_s: float) -> None:
        self._store, self._keys, self._owner = store, keys, owner
        self.ttl_ms = round(ttl_s * 1000)
        self.value = ""

    def acquire(self) -> None:
        """Take the lease with a new epoch. Raises FencedError while another daemon holds it."""
        reply = self._call("syncd_lease", [self._owner, self.ttl_ms])
        if reply[0] != b"held":
            raise FencedError("redis", f"{reply[1].decode()} holds the lease of {self._keys.contract}; standing by")
        self.value = reply[1].decode()

    def renew(self) -> None:
        """Hold on to the lease. Raises FencedError when it was lost."""
        self._check(self._call("syncd_renew", [self.value, self.ttl_ms]))

    def forget_position(self) -> None:
        """Make the next start begin with a snapshot."""
        self._check(self._call("syncd_forget", [self.value]))

    def release(self) -> None:
        """Give the lease back, so that a standby need not wait for it to run out."""
        self._call("syncd_release", [self.value])

    def _call(self, name: str, args: list[Any]) -> list[bytes]:
        reply: list[bytes] = self._store.call(name, [self._keys.lease, self._keys.position], args)
        if reply[0] == b"version":
            raise newer_protocol(reply)
        return reply

    def _check(self, reply: list[bytes]) -> None:
        if reply[0] == b"fenced":
            raise fenced(self._keys.contract, reply)


def fenced(contract: str, reply: list[bytes]) -> FencedError:
    """The error for a `fenced` reply."""
    holder = reply[1].decode() or "nobody"
    return FencedError("redis", f"the lease of {contract} is lost (now held by: {holder}); nothing was written")


def newer_protocol(reply: list[bytes]) -> FatalError:
    """The error for a `version` reply."""
    return FatalError("redis", f"another syncd loaded functions of protocol {reply[1].decode()}; upgrade this daemon")

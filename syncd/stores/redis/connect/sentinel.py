"""Sentinel: which server is the primary, asked at every connect, and connections that end when it is another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis import exceptions as driver
from redis.connection import AbstractConnection

from syncd import telemetry
from syncd.stores.redis.connect.login import Login, UserAndPassword
from syncd.stores.redis.connect.sentinel_url import Address, SentinelUrl, read_sentinel_url

ASK_S = 1.0
"""How long one sentinel may take. Others know the same."""
_NO_PRIMARY_HERE = ("READONLY", "NOREPLICAS", "MASTERDOWN")
"""Answers of a server that is no primary any more, or that no replica follows: another may be primary by now."""


class SentinelLogin(Login):
    """Of the sentinels, which have users of their own; the certificates are those of the servers."""

    def user_and_password(self) -> UserAndPassword:
        """Raises SettingsError."""
        said = read_sentinel_url(self._access.now().uri)
        return UserAndPassword(said.user, said.password)


class _Said(NamedTuple):
    """What a sentinel says. The `epoch` grows with each failover: a lower one is from before the last."""

    epoch: int
    address: Address


class Primary:
    """The primary, as all connections of a process to one Redis know it. Thread-safe."""

    def __init__(self, url: SentinelUrl, connect: Callable[[Address], AbstractConnection]) -> None:
        """`connect` makes a connection to a sentinel, not connected yet."""
        self._seeds, self._service, self._connect = list(url.seeds), url.service, connect
        self._lock = threading.Lock()
        self._known: _Said | None = None
        self.generation = 0
        """Grows when the primary is another one, or may be. Connections of before are not used any more."""

    def find(self) -> tuple[Address, int]:
        """Ask where it is. Returns the generation too. Raises the driver's ConnectionError."""
        said, errors = list[_Said](), list[str]()
        for seed in self._seeds.copy():
            try:
                said.append(self._ask(seed))
            except (driver.RedisError, OSError) as error:
                errors.append(f"{seed[0]}:{seed[1]}: {error}")
                continue
            if self._known is not None and said[-1].epoch >= self._known.epoch:
                self._first(seed)
                break
        if not said:
            raise driver.ConnectionError(f"no sentinel says where {self._service} is ({'; '.join(errors)})")
        return self._take(max(said))

    def _take(self, said: _Said) -> tuple[Address, int]:
        with self._lock:
            before, self._known = self._known, said
            if before is not None and before.address != said.address:
                self.generation += 1
                telemetry.primary_changed(_shown(before.address), _shown(said.address))
            return said.address, self.generation

    def _first(self, seed: Address) -> None:
        """One that answers is asked first."""
        with self._lock:
            self._seeds.remove(seed)
            self._seeds.insert(0, seed)

    def doubt(self, generation: int) -> None:
        """The server of this generation is no primary, or takes no writes: everything asks again."""
        with self._lock:
            if self.generation == generation:
                self.generation += 1

    def _ask(self, seed: Address) -> _Said:
        connection = self._connect(seed)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "MASTER", self._service)
            reply: Sequence[bytes] = connection.read_response()
        finally:
            connection.disconnect()
        said = dict(zip(reply[::2], reply[1::2], strict=True))
        return _Said(int(said[b"config-epoch"]), (said[b"ip"].decode(), int(said[b"port"])))


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


class ToPrimary(AbstractConnection):
    """A connection to the primary. It is looked for at each connect, has to say itself that it is one, and everything
    is looked for again where another connection has found another primary: no run may read the one and write the
    other."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        self._primary, self._generation = primary, 0
        super().__init__(**options)

    def _connect(self) -> Any:
        (self.host, self.port), self._generation = self._primary.find()
        return super()._connect()  # type: ignore[safe-super, no-untyped-call]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """The first words with the server, which may have been primary a moment ago."""
        super().on_connect_check_health(check_health)
        self.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
        role: Any = super().read_response()
        if role[0] not in (b"master", "master"):
            what = f"{_shown((self.host, self.port))}, which Sentinel names, is no primary (yet)"
            raise driver.ConnectionError(what)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Raises the driver's ConnectionError where the primary is another one since this connection was made."""
        if self._generation != self._primary.generation and self._sock is not None:
            self.disconnect()
            raise driver.ConnectionError("Redis has another primary by now, or may have")
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """A reply; one that no primary gives makes all connections ask again."""
        try:
            return super().read_response(*args, **options)
        except driver.ResponseError as error:
            if isinstance(error, driver.ReadOnlyError) or str(error).startswith(_NO_PRIMARY_HERE):
                self._primary.doubt(self._generation)
            raise

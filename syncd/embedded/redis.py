"""A real redis-server, or Valkey, or any binary that speaks the same configuration."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from redis import Redis

from syncd.embedded import binaries
from syncd.embedded.ports import LOOPBACK
from syncd.embedded.server import Server

PING_TIMEOUT = 1.0  # seconds
POLL = 0.02  # seconds between two checks whether a file is written
TORN = b"short read while loading the AOF"

# Nothing is kept unless asked for, and only this machine can connect, so that no password is needed.
DEFAULTS: Mapping[str, str | int] = {
    "bind": LOOPBACK,
    "protected-mode": "no",
    "daemonize": "no",
    "save": '""',
    "appendonly": "no",
    "appendfsync": "everysec",
}


class RedisServer(Server):
    """Redis 8.2 with RediSearch and RedisJSON by default.

    `config` is what `redis.conf` would say, values verbatim (`{"maxmemory": "50mb"}`), and wins over
    everything. `binary` runs another server; `modules` is about the bundled one only. With `appendonly` an
    acknowledged write outlives `kill()`. `arguments` follow the configuration file (`["--sentinel"]`).
    """

    kind = "redis"

    def __init__(
        self,
        *,
        modules: bool = True,
        config: Mapping[str, str | int] | None = None,
        appendonly: bool = False,
        directory: Path | None = None,
        binary: Path | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = binary or binaries.redis_server()
        self._modules = binaries.redis_modules() if modules and binary is None else ()
        self._config = {"appendonly": "yes" if appendonly else "no", **(config or {})}
        self._arguments = arguments
        super().__init__(directory, env)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _command(self) -> Sequence[str | Path]:
        file = self.directory / "redis.conf"
        file.write_text(self._configuration())
        return [self._binary, file, *self._arguments]

    def _configuration(self) -> str:
        settings = {**DEFAULTS, "port": self.port, "dir": f'"{self.directory}"', **self._config}
        lines = [f"{name} {value}" for name, value in settings.items()]
        lines += [f'loadmodule "{module}"' for module in self._modules]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        read = self.log.stat().st_size if self.log.exists() else 0
        super().start()
        if TORN in self.log.read_bytes()[read:]:
            self._rewrite()

    def _rewrite(self) -> None:
        """Write the append-only file again. Where a kill tore a transaction in the middle of a command, Redis leaves
        the beginning of it in the file, writes on behind that, and throws all of it away, acknowledged or not, at the
        next start. Source: github.com/valkey-io/valkey/pull/4342, which fixes it there."""
        with Redis.from_url(self.url) as client:
            client.bgrewriteaof()
            while any(
                client.info("persistence")[f"aof_rewrite_{word}"] for word in ("scheduled", "in_progress")
            ):
                time.sleep(POLL)

    def answers(self) -> bool:
        # Any reply will do, also "password, please"; but a server that still reads its file is not there yet.
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=PING_TIMEOUT) as connection:
                connection.sendall(b"PING\r\n")
                reply = connection.recv(64)
        except OSError:
            return False
        return bool(reply) and not reply.startswith(b"-LOADING")


class ValkeyServer(RedisServer):
    """Valkey 9: functions, but no search and no JSON."""

    kind = "valkey"

    def __init__(
        self,
        *,
        config: Mapping[str, str | int] | None = None,
        appendonly: bool = False,
        directory: Path | None = None,
    ) -> None:
        super().__init__(
            config=config, appendonly=appendonly, directory=directory, binary=binaries.valkey_server()
        )

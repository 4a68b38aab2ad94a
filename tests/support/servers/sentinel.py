"""A master and a replica that three sentinels watch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from redis import exceptions

from syncd.embedded import LOOPBACK, RedisServer
from tests.support.check import wait_until
from tests.support.servers.shared import connect

SERVICE = "mymaster"
MEMBER: dict[str, str | int] = {
    "repl-diskless-sync-delay": 0,
    "masteruser": "replica",
    "masterauth": "of-replicas",
    "user": "replica on >of-replicas ~* &* +@all",
}
DOWN_MS = 1000
"""After which a sentinel misses a server."""


def tell(server: RedisServer, *words: str) -> Any:
    """Where a sentinel makes another server of it, it closes the connections of all clients: then again."""
    while True:
        try:
            with connect(server.url) as client:
                return client.execute_command(*words)
        except exceptions.ConnectionError:
            if not server.alive:
                raise


class Sentinels:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Sentinels:
        with ExitStack() as stack:
            start = stack.enter_context
            self.first, self.second = (
                start(RedisServer(modules=False, appendonly=True, config=MEMBER)) for _ in range(2)
            )
            tell(self.second, "REPLICAOF", LOOPBACK, str(self.first.port))
            wait_until(lambda: self.follows(self.second))
            watched = {
                f"sentinel monitor {SERVICE}": f"{LOOPBACK} {self.first.port} 2",
                f"sentinel down-after-milliseconds {SERVICE}": DOWN_MS,
                f"sentinel failover-timeout {SERVICE}": 4000,
            }
            self.watchers = [
                start(RedisServer(modules=False, config=watched, arguments=["--sentinel"])) for _ in range(3)
            ]
            for watcher in self.watchers:
                # Behind a pause of 2 s, which a machine with other work makes, it would do nothing for 30 s.
                tell(watcher, "SENTINEL", "DEBUG", "tilt-trigger", "60000")
            wait_until(lambda: all(map(self._is_complete, self.watchers)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        seeds = ",".join(f"{LOOPBACK}:{one.port}" for one in self.watchers)
        return f"redis+sentinel://{seeds}/{SERVICE}/0"

    def _is_complete(self, watcher: RedisServer) -> bool:
        """Whether it knows the other sentinels and the replica."""
        said = self.said(watcher)
        return (said["num-slaves"], said["num-other-sentinels"]) == ("1", "2")

    def said(self, watcher: RedisServer) -> dict[str, str]:
        reply = [word.decode() for word in tell(watcher, "SENTINEL", "MASTER", SERVICE)]
        return dict(zip(reply[::2], reply[1::2], strict=True))

    def wait_primary(self, server: RedisServer) -> None:
        """Until it is one, and all sentinels say so."""

        def is_primary() -> bool:
            ports = {self.said(one)["port"] for one in self.watchers}
            return tell(server, "ROLE")[0] == b"master" and ports == {str(server.port)}

        wait_until(is_primary, 40, lambda: [self.said(one) for one in self.watchers])

    def follows(self, server: RedisServer) -> bool:
        """Whether it has all of the other one."""
        said = tell(server, "INFO", "replication")
        return bool(said["role"] == "slave" and said["master_link_status"] == "up")

    def stop_replication(self) -> None:
        """The replica loses its link, and gets none again."""
        tell(self.first, "ACL", "SETUSER", "replica", "off")
        tell(self.first, "CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: tell(self.second, "INFO", "replication")["master_link_status"] == "down")

    def hand_over(self, server: RedisServer) -> None:
        """An operator makes the other one primary, while both run."""

        def is_asked() -> bool:
            try:
                tell(self.watchers[0], "SENTINEL", "FAILOVER", SERVICE)
            except exceptions.ResponseError:  # a failover is under way, or no replica is good enough yet
                return False
            return True

        wait_until(is_asked, 40)
        self.wait_primary(server)

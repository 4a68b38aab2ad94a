"""What mongod and redis-server have in common here: a port, a directory, start and stop."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from syncd.embedded.ports import Port
from syncd.embedded.process import STOP_TIMEOUT, ChildProcess
from syncd.embedded.started import Started


class Server(Started):
    """One server on 127.0.0.1. It keeps its port and its data until `close`, through every kill before.

    `directory` holds data and log; without one, a temporary directory that `close` removes. `env` is added to
    this process's environment. As a context manager it starts on entry and closes on exit.
    """

    kind = "server"
    log_noise: str | None = None

    def __init__(self, directory: Path | None, env: Mapping[str, str] | None = None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            prefix = f"syncd-{self.kind}-"
            self._temporary = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
            directory = Path(self._temporary.name)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._port = Port()
        self.process = ChildProcess(
            self._command(),
            log=directory / f"{self.kind}.log",
            answers=self.answers,
            env=env,
            log_noise=self.log_noise,
        )

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The command line; called once, when `directory` and `port` are known."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes commands now. Never raises, never blocks for more than a second."""

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.alive

    @property
    def log(self) -> Path:
        return self.process.log

    def start(self) -> None:
        self.process.start()

    def stop(self, timeout: float = STOP_TIMEOUT) -> int | None:
        return self.process.stop(timeout)

    def restart(self) -> None:
        """Gracefully; after `kill()` just `start()` again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        self.process.kill()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def close(self) -> None:
        """Ends the server permanently. One with temporary data is killed: what it would save is not needed."""
        if self._temporary is None:
            self.stop()
        else:
            self.kill()
            self._temporary.cleanup()
        self._port.release()

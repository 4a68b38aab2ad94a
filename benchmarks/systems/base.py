"""The systems under test, each a process of its own behind one small interface.

To add one: subclass `System`, say how it is started and how it reports that it is ready, and put it into
`SYSTEMS`. `products` has those that must be installed first.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured.observe import Usage, wait
from benchmarks.measured.workload import COLLECTION, DATABASE, PLAIN, Shape

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a system finds its servers, and a folder of its own."""

    mongo_uri: str
    redis_url: str
    folder: Path


class SystemFailed(Exception):
    """A process did not start, ended by itself or did not stop as it should. Carries the end of its log."""


class System(ABC):
    """One way to keep Redis in sync, for one round.

    `start` and `stop` alternate; what must survive a stop lives in Redis, in MongoDB or in the site's folder.
    """

    name: str
    snapshots = True
    """Fills an empty Redis by itself."""
    resumes = True
    """Goes on after a stop where it was, without loss."""
    exit_codes: tuple[int, ...] = (0,)
    """What a graceful stop may end with."""
    ready_poll_s = 0.02
    """How often `ready` may be asked without disturbing the system."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.log = site.folder / f"{self.name}.log"
        self.usage: Usage | None = None
        self.peak_bytes = 0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """The command line."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the running process has finished its snapshot, if it makes one, and follows the stream."""

    def environment(self) -> dict[str, str]:
        """Variables on top of those of the benchmark."""
        return {}

    def start(self) -> None:
        """Start the process; return at once."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, env={**os.environ, **self.environment()}
            )
        self.usage = Usage(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    def stop(self) -> None:
        """SIGTERM, and wait for a clean end. Does nothing when it is not running."""
        if self._process is None or self.usage is None:
            return
        process, self._process = self._process, None
        self.usage.stop()
        self.peak_bytes = max(self.peak_bytes, self.usage.peak_bytes)
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise SystemFailed(f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s of SIGTERM") from None
        if code not in self.exit_codes:
            raise SystemFailed(f"{self.name} ended with {code} after SIGTERM\n{self.log_tail()}")

    def kill(self) -> None:
        """End it without ceremony, after a failure. Does nothing when it is not running."""
        if self._process is not None and self.usage is not None:
            self.usage.stop()
            self._process.kill()
            self._process.wait()
            self._process = None

    def check_alive(self) -> None:
        """Raise when the process has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise SystemFailed(f"{self.name} ended by itself with {code}\n{self.log_tail()}")

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> float:
        """The monotonic time at which it said that it is ready."""
        return wait(self.ready, f"{self.name} is ready", timeout_s, self.check_alive, self.ready_poll_s)

    def cpu_seconds(self) -> float:
        """CPU time of the running process so far."""
        return self.usage.cpu_seconds() if self.usage else 0.0

    def log_tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Script(System):
    """A module under `benchmarks.peers`; it prints `ready`."""

    def command(self) -> list[str]:
        """Python with the module and its four arguments."""
        module = f"benchmarks.peers.{self.name}"
        return [sys.executable, "-m", module, self.site.mongo_uri, self.site.redis_url, DATABASE, COLLECTION]

    def ready(self) -> bool:
        """Whether it has printed the word."""
        return b"ready" in self.log.read_bytes()


class Naive(Script):
    """The loop of a first afternoon."""

    name = "naive"
    snapshots = False
    resumes = False
    exit_codes = (-signal.SIGTERM,)


class Tuned(Script):
    """The script of a careful engineer."""

    name = "tuned"


class Syncd(System):
    """syncd as a user runs it: a directory of contracts, settings from the environment."""

    name = "syncd"

    def __init__(self, site: Site, shapes: Sequence[Shape] = (PLAIN,)) -> None:
        super().__init__(site)
        self._contracts = site.folder / "contracts"
        self._contracts.mkdir()
        for shape in shapes:
            (self._contracts / f"{shape.prefix}.yaml").write_text(shape.contract())
        self._http = f"127.0.0.1:{_free_port()}"

    def command(self) -> list[str]:
        """`syncd run`."""
        return self.words("run")

    def words(self, verb: str) -> list[str]:
        """A command on the same contracts."""
        return [sys.executable, "-m", "syncd", verb, "--contracts", str(self._contracts)]

    def whole_environment(self) -> dict[str, str]:
        """Variables of such a command."""
        return {**os.environ, **self.environment()}

    def environment(self) -> dict[str, str]:
        """The three settings that have no usable default here."""
        return {
            "SYNCD_MONGO_URI": self.site.mongo_uri,
            "SYNCD_REDIS_URL": self.site.redis_url,
            "SYNCD_HTTP": self._http,
        }

    def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            with urllib.request.urlopen(f"http://{self._http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


SYSTEMS: dict[str, type[System]] = {system.name: system for system in (Naive, Tuned, Syncd)}
"""Everything that `--systems` may name, beside `limits`."""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

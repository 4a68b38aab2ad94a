"""`syncd run` as a process of its own, as a service manager would run it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from syncd.embedded import LOOPBACK, ChildProcess, Port
from tests.support.check import PATIENCE_S, wait_until
from tests.support.log import Log
from tests.support.zygote import Forked, zygote

ROOT = Path(__file__).parents[2]
HTTP_TIMEOUT = 10.0  # seconds


def _fork(arguments: list[str], log: Path, env: Mapping[str, str] | None) -> Forked:
    with log.open("ab") as output:
        return zygote().start(
            arguments, env={**os.environ, **(env or {})}, cwd=Path.cwd(), stdout=output, stderr=output
        )


def _samples(page: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


class Daemon:
    """Use as a context manager: starts on entry, kills on exit. It keeps its HTTP port through restarts.

    `env` adds to, and wins over, the settings given here. The log goes to a file that `logs()` reads.
    """

    def __init__(
        self, contracts: Path, *, mongo_uri: str, redis_url: str, env: Mapping[str, str] | None = None
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="syncd-daemon-")
        self._log = Log(Path(self._directory.name) / "daemon.log")
        self._port = Port()
        self.url = f"http://{LOOPBACK}:{self._port.number}"
        settings = {
            "PYTHONPATH": str(ROOT),
            "SYNCD_MONGO_URI": mongo_uri,
            "SYNCD_REDIS_URL": redis_url,
            "SYNCD_CONTRACTS": str(contracts),
            "SYNCD_HTTP": f"{LOOPBACK}:{self._port.number}",
            "SYNCD_LOG_FORMAT": "json",
            **(env or {}),
        }
        self.process = ChildProcess(
            ["run", "--contracts", contracts],
            log=self._log.path,
            answers=self.is_live,
            env=settings,
            popen=_fork,
        )

    def start(self) -> None:
        """Starts (again), until it answers /livez; raises with the end of its log when it ends instead."""
        self.process.start()

    def launch(self) -> None:
        """Starts without waiting, for a daemon that shall refuse to run."""
        self.process.launch()

    def wait_ready(self, timeout: float = 30) -> None:
        def look() -> bool:
            assert self.process.alive, f"exit code {self.process.exit_code}; {self.process.log_tail()}"
            return self.is_ready()

        wait_until(look, timeout, lambda: f"ready; /readyz: {self.get('/readyz')}; {self.process.log_tail()}")

    def wait_exit(self, timeout: float = 30) -> int:
        wait_until(lambda: not self.process.alive, timeout, self.process.log_tail)
        assert self.process.exit_code is not None
        return self.process.exit_code

    def is_live(self) -> bool:
        return self.get("/livez")[0] == 200

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 when no server answers. Asked very often, so with as little as will do."""
        connection = HTTPConnection(LOOPBACK, self._port.number, timeout=HTTP_TIMEOUT)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except (OSError, HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        code, body = self.get("/status")
        assert code == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def lane_state(self) -> str:
        """Of its only lane; `down` while it does not answer, or answers before it has a lane."""
        code, body = self.get("/status")
        lanes = json.loads(body)["lanes"] if code == 200 else []
        return str(lanes[0]["state"]) if lanes else "down"

    def metrics(self) -> list[Sample]:
        return _samples(self._page())

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry these labels; 0 when there are none."""
        # A page has hundreds of samples, and a test that waits for one reads many pages: only its lines are parsed.
        lines = [line for line in self._page().splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        found = _samples("\n".join([*lines, ""]))
        return sum(sample.value for sample in found if labels.items() <= sample.labels.items())

    def _page(self) -> str:
        code, body = self.get("/metrics")
        assert code == 200, body
        return body

    def logs(self, **fields: object) -> list[dict[str, Any]]:
        """The log of all its runs: every line that is a JSON object and has these fields."""
        return [entry for entry in self._log.entries() if fields.items() <= entry.items()]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()

    def terminate(self, timeout: float = PATIENCE_S) -> int:
        """SIGTERM; returns the exit code, -9 when it had to be killed after `timeout` seconds."""
        code = self.process.stop(timeout)
        assert code is not None, "it was not running"
        return code

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def close(self) -> None:
        self.kill()
        self._port.release()
        self._directory.cleanup()

    def __enter__(self) -> Daemon:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

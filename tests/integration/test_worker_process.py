"""One worker process as its parent sees it. Without contracts it needs no servers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from syncd.contract.read.load import load_contract_set
from syncd.daemon.processes import workers
from syncd.daemon.processes.process import WorkerProcess
from syncd.daemon.processes.workers import Workers
from syncd.settings import Settings
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import ContractDirectory, projection

QUESTIONS = 5000
"""More than the pipe to a worker takes."""


@pytest.fixture(scope="module", autouse=True)
def no_process_stays() -> Iterator[None]:
    """Python starts a tracker beside the first process, for as long as the parent lives."""
    yield
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess(1, Settings())
    worker.start()
    wait_until(lambda: worker.owner)
    yield worker
    if worker.pid:
        os.kill(worker.pid, signal.SIGKILL)
    worker.begin_stop()
    worker.end(time.monotonic())


def test_questions_to_a_worker_that_hangs(worker: WorkerProcess) -> None:
    """bounded: probes that go on asking a worker that answers nothing neither wait for it nor pile up, and it can be
    ended."""
    assert worker.pid
    os.kill(worker.pid, signal.SIGSTOP)
    asking = threading.Thread(target=lambda: [worker.begin_ask() for _ in range(QUESTIONS)], daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    assert not asking.is_alive()
    stopping = threading.Thread(target=worker.begin_stop, daemon=True)
    stopping.start()
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    worker.end(time.monotonic() + 0.5)
    assert worker.pid is None
    assert not worker.is_alive()


def test_a_worker_that_hangs_answers_when_it_goes_on(worker: WorkerProcess) -> None:
    """What it was not asked meanwhile does no harm: it is asked again."""
    assert worker.pid
    os.kill(worker.pid, signal.SIGSTOP)
    for _ in range(QUESTIONS // 100):
        worker.begin_ask()
    os.kill(worker.pid, signal.SIGCONT)
    wait_until(lambda: (report := worker.begin_ask().get(timeout=PATIENCE_S)) is not None and report.alive)


def test_pages_while_contracts_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes that come in the middle of a reload see the old set or the new one, and no error."""
    directory = ContractDirectory(tmp_path, "t")
    directory.write("film", projection(["title"]))
    runner = Workers(Settings(workers=2))
    seen: list[dict[str, Any]] = []
    place = workers.place

    def place_slowly(*args: Any) -> dict[str, int]:
        seen.append(runner.as_dict())
        return place(*args)

    monkeypatch.setattr(workers, "place", place_slowly)
    try:
        plans = runner.compile(entry.contract for entry in load_contract_set(tmp_path, {}).contracts)
        runner.apply(plans)
        runner.apply([])
        assert [len(said["lanes"]) for said in seen] == [0, 1]
        assert not runner.as_dict()["lanes"]
    finally:
        runner.stop()

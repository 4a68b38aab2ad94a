"""`python -m tests.soak`: breaks everything for some minutes while all of it is written, then compares all of it.

Faults go to stdout as they come, then a table; exit code 0 when nothing was wrong, 1 when anything was.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tests.soak.checker import POLL_S, Checker, Comparison
from tests.soak.cluster import ClusterFaults, ClusterStage
from tests.soak.contracts import KEPT
from tests.soak.faults import Faults
from tests.soak.kept import Application
from tests.soak.monitor import Monitor
from tests.soak.recorder import Recorder
from tests.soak.report import SHOWN, Result
from tests.soak.stage import Stage
from tests.soak.writers import Writers

LIVE_S = 120.0
IN_SYNC_S = 90.0
QUIET_S = 3.0
"""After the comparison, before the one that counts: nothing may change any more."""
OVERLAP = 0.3
"""Share of faults that do not wait until every contract is live again after the one before."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write the JSON."""
    options = _parse(arguments)
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that everything is put away
    result = Result(options.minutes, options.seed, options.fault_every)
    try:
        _soak(result, options)
    except KeyboardInterrupt:
        return 130
    print(f"\n{result.markdown()}\n{result.story()}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result.document(), indent=2, default=str) + "\n")
    return 0 if result.good else 1


def _soak(result: Result, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="syncd-soak-") as folder, _stage(options, folder) as stage:
        try:
            Run(stage, result, options).run()
        except Exception:  # the logs say why, and go with the stage
            result.broken(traceback.format_exc())
        if not result.good or options.keep_logs:
            result.logs = stage.keep_logs(Path(tempfile.mkdtemp(prefix="syncd-soak-logs-")))


def _stage(options: argparse.Namespace, folder: str) -> Stage:
    return (ClusterStage if options.cluster else Stage)(Path(folder), options.partitions)


class Run:
    """One soak on a stage that stands."""

    def __init__(self, stage: Stage, result: Result, options: argparse.Namespace) -> None:
        self._stage, self._result, self._options = stage, result, options
        self._chance = random.Random(f"{options.seed}/overlap")
        self._began = time.monotonic()
        self._faults = (ClusterFaults if isinstance(stage, ClusterStage) else Faults)(
            stage, options.seed, self._began
        )
        self._monitor = Monitor(stage.daemons, stage.shorts, stage.partitions, self._began)
        self._recorder = Recorder(
            stage.redis_url, stage.may_go_back, options.seed, self._began,
            moves_in_one_step=stage.moves_in_one_step,
        )  # fmt: skip
        self._checker = Checker(stage, self._faults.evicted)
        self._kept = Application(stage.redis_url, stage.mongo, options.seed) if KEPT in stage.shorts else None

    def run(self) -> None:
        stage, result = self._stage, self._result
        result.faults = self._faults.done
        with self._monitor, self._recorder, self._kept or nullcontext():
            if not self._monitor.wait_live(LIVE_S):
                raise RuntimeError(f"not live before the first fault: {self._monitor.lanes}")
            with Writers(stage.replica_set.uri, self._options.seed) as writers:
                self._break(writers)
                self._collect(writers)
            stage.restore()
            self._finish()
        self._sum_up()

    def _break(self, writers: Writers) -> None:
        """Fault after fault, until time is up."""
        end = time.monotonic() + self._options.minutes * 60
        while (begin := time.monotonic()) < end:
            fault = self._faults.strike()
            if self._stage.may_go_back.is_set() or self._chance.random() >= OVERLAP:
                self._monitor.wait_live(LIVE_S, fault)
            self._stage.may_go_back.clear()
            self._look_after_daemons()
            if not writers.alive or self._recorder.died:
                return
            time.sleep(max(0.0, min(begin + self._options.fault_every, end) - time.monotonic()))

    def _look_after_daemons(self) -> None:
        for daemon in self._stage.daemons:
            if not daemon.process.alive:
                self._wrong("unexpected_exits", code=daemon.process.exit_code, log=daemon.process.log_tail())
                self._stage.start_daemon(daemon)

    def _collect(self, writers: Writers) -> None:
        written: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        try:
            for report in writers.stop():
                written.update(report["written"])
                errors.update(report["errors"])
        except (EOFError, TimeoutError) as error:
            self._wrong("broken_tools", writers=repr(error))
        self._result.written, self._result.writer_errors = dict(written), dict(errors)

    def _finish(self) -> None:
        """Everything works again and no client writes: now Redis must become like MongoDB, and stay so."""
        if not self._monitor.wait_live(LIVE_S):
            lanes = [lane for lane in self._monitor.lanes if lane["state"] not in ("live", "standby")]
            self._wrong("stuck", count=max(1, len(lanes)), lanes=self._monitor.lanes)
        found = self._checker.wait_in_sync(IN_SYNC_S)
        self._result.touched = self._checker.touch(found)
        self._checker.wait_in_sync(IN_SYNC_S)
        time.sleep(QUIET_S)
        self._judge(self._checker.compare())
        for said in self._checker.unknown_digests(IN_SYNC_S):
            self._wrong("digests", said=said)
        if self._kept is not None:
            self._finish_kept(self._kept)
        self._look_after_daemons()

    def _finish_kept(self, application: Application) -> None:
        application.stop()
        for step in (application.write_all, application.delete_some):
            step()
            deadline = time.monotonic() + IN_SYNC_S
            while (found := application.differing()) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            if found:
                self._wrong("documents", count=len(found), after=step.__name__, some=found[:SHOWN])
        if application.vanished:
            self._wrong("vanished", count=len(application.vanished), some=application.vanished[:SHOWN])
        if application.died:
            self._wrong("broken_tools", application=application.died)

    def _judge(self, found: Comparison) -> None:
        result = self._result
        counts = found.counts()
        result.documents, result.keys = counts.pop("documents"), counts.pop("keys")
        result.verdicts.update(counts)
        if found.excused:  # touched, and not back
            result.verdicts["missing"] += len(found.excused)
        for kind in ("missing", "extra", "different"):
            for key, said in getattr(found, kind).items():
                history = self._recorder.history(key)
                result.evidence.append({"what": kind, "key": key, **said, "history": history})

    def _sum_up(self) -> None:
        result, recorder = self._result, self._recorder
        result.verdicts |= {"backwards": recorder.backwards, "torn": recorder.torn}
        result.evidence += recorder.wrong
        if recorder.died:
            self._wrong("broken_tools", recorder=recorder.died)
        for said in self._checker.dead_letters():
            self._wrong("dead_letters", dead_letter=said)
        for said in self._checker.unexpected_errors():
            self._wrong("unexpected_errors", line=said)
        result.samples, result.steps = recorder.samples, recorder.steps
        result.applied = self._monitor.changes()
        result.longest_until_live = max((fault.live_after or 0.0 for fault in self._faults.done), default=0.0)
        result.longest_not_live = self._monitor.longest_not_live
        result.peak_rss_mb = self._monitor.peak_rss / 1e6

    def _wrong(self, verdict: str, count: int = 1, **evidence: object) -> None:
        self._result.verdicts[verdict] += count
        self._result.evidence.append({"what": verdict, **evidence})
        print(f"{time.monotonic() - self._began:8.1f} s  VIOLATION {verdict}: {evidence}", flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of writes and faults (20)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is chosen at random (1)")
    parser.add_argument("--fault-every", type=float, default=5.0, help="seconds from fault to fault (5)")
    parser.add_argument("--out", type=Path, help="write the result there as JSON")
    parser.add_argument("--cluster", action="store_true", help="Redis is a cluster")
    parser.add_argument("--partitions", type=int, default=1, help="of each contract from MongoDB (1)")
    parser.add_argument("--keep-logs", action="store_true", help="also where nothing was wrong")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

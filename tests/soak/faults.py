"""Everything that may go wrong, one at a time and each to its end. What is broken is repaired again by the same fault.

The kinds come in a random order in which each comes once before any comes twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from pymongo.errors import PyMongoError
from redis.exceptions import RedisClusterException, RedisError

from syncd.errors import PlatformError
from tests.soak import contracts, handovers
from tests.soak.projection import scan
from tests.soak.stage import Stage
from tests.support.daemon import Daemon

COPIES_EVERY_S = 60.0
"""The least time between two faults that make every contract, or one of them, be copied again."""
COPIES = ("redis emptied", "position deleted", "snapshot worker killed")
WORKER_S = 4.0
EVICT = """
local tree = ARGV[1] == 'tree'
local version = tree and redis.call('JSON.GET', KEYS[1], '.v') or not tree and redis.call('HGET', KEYS[1], 'v')
redis.call('DEL', KEYS[1])
return version
"""
EVICTED = 40
"""Keys a time."""


@dataclass
class Fault:
    """One of them. Times are seconds since the start."""

    kind: str
    began: float
    ended: float = 0.0
    said: str = ""
    live_after: float | None = None
    """Seconds from its end until every contract was live; None where another fault came before."""


class Faults:
    """Chooses, does, remembers. `evicted`: key -> the version that it showed when it was taken away."""

    def __init__(self, stage: Stage, seed: int, began: float) -> None:
        self._stage = stage
        self._chance = random.Random(f"{seed}/faults")
        self._began = began
        self._bag: list[str] = []
        self._copied_at = -COPIES_EVERY_S
        self.done: list[Fault] = []
        self.evicted: dict[str, int] = {}
        self.copies: tuple[str, ...] = COPIES
        self.kinds: dict[str, Callable[[], str]] = {
            "active killed": self._kill_active,
            "standby killed": self._kill_standby,
            "active paused": self._pause_active,
            "active stopped": self._stop_active,
            "both killed": self._kill_both,
            "redis link cut": self._cut,
            "redis link slow": self._slow,
            "redis reply lost": self._lose_reply,
            "redis replies dropped": self._half_open,
            "redis killed": self._kill_redis,
            "redis emptied": self._flush,
            "keys evicted": self._evict,
            "position deleted": self._delete_position,
            "snapshot worker killed": self._kill_snapshot_worker,
            "lease deleted": self._delete_lease,
            "functions deleted": self._delete_functions,
            "primary stepped down": self._step_down,
            "primary killed": self._kill_primary,
            "secondary killed": self._kill_secondary,
            "contract edited": self._edit,
            "contract broken": self._break_contract,
            "contract renamed": self._rename,
            "projection moved": self._move,
            "contracts swapped": self._swap,
            "contract removed": self._remove,
            "rolling update": self._roll,
        }

    def strike(self) -> Fault:
        """The next one, from its beginning to its end."""
        fault = Fault(self._next(), self._now())
        self.done.append(fault)
        try:
            fault.said = self.kinds[fault.kind]()
        except (
            RedisError,
            RedisClusterException,
            PyMongoError,
            PlatformError,
            OSError,
            psutil.Error,
        ) as error:
            # One that came while the effects of another lasted: it may miss, but leaves nothing broken.
            fault.said = f"missed: {type(error).__name__}: {str(error)[:200]}"
            self._stage.restore()
        fault.ended = self._now()
        print(
            f"{fault.began:8.1f} s  {fault.kind}: {fault.said} ({fault.ended - fault.began:.1f} s)",
            flush=True,
        )
        return fault

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _next(self) -> str:
        early = time.monotonic() < self._copied_at + COPIES_EVERY_S
        allowed = self._kinds_left(early)
        if not allowed:
            self._bag += self._chance.sample(sorted(self.kinds), len(self.kinds))
            allowed = self._kinds_left(early)
        kind = allowed[0]
        self._bag.remove(kind)
        if kind in self.copies:
            self._copied_at = time.monotonic()
        return kind

    def _kinds_left(self, early: bool) -> list[str]:
        return [kind for kind in self._bag if not (early and kind in self.copies)]

    def _some_time(self, low: float, high: float) -> float:
        seconds = self._chance.uniform(low, high)
        time.sleep(seconds)
        return seconds

    def _kill_active(self) -> str:
        daemon = self._stage.active()
        daemon.kill()
        seconds = self._some_time(0, 4)
        self._stage.start_daemon(daemon)
        return f"started again after {seconds:.1f} s"

    def _kill_standby(self) -> str:
        daemon = self._stage.standby()
        daemon.kill()
        self._some_time(0, 1)
        self._stage.start_daemon(daemon)
        return "started again"

    def _kill_both(self) -> str:
        for daemon in self._stage.daemons:
            daemon.kill()
        self._some_time(0, 2)
        for daemon in self._stage.daemons:
            self._stage.start_daemon(daemon)
        return "started again"

    def _pause_active(self) -> str:
        daemon = self._stage.active()
        daemon.pause()
        seconds = self._some_time(1, 8)
        daemon.resume()
        return f"for {seconds:.1f} s"

    def _stop_active(self) -> str:
        daemon = self._stage.active()
        code = daemon.terminate(30)
        self._stage.start_daemon(daemon)
        return f"exit code {code}, started again"

    def _cut(self) -> str:
        self._stage.proxy.cut()
        seconds = self._some_time(0.5, 3)
        self._stage.proxy.restore()
        return f"for {seconds:.1f} s"

    def _slow(self) -> str:
        self._stage.proxy.delay(0.2)
        time.sleep(3)
        self._stage.proxy.restore()
        return "200 ms a direction for 3 s"

    def _lose_reply(self) -> str:
        sprung = self._stage.proxy.close_after_next_request(containing=b"syncd_apply").wait(5)
        self._stage.proxy.restore()
        return "of one call" if sprung else "no call came"

    def _half_open(self) -> str:
        self._stage.proxy.half_open()
        seconds = self._some_time(0.5, 3)
        self._stage.proxy.restore()
        return f"for {seconds:.1f} s"

    def _kill_redis(self) -> str:
        self._stage.redis_server.kill()
        self._some_time(0, 1.5)
        self._stage.redis_server.start()
        return "started again with its data"

    def _flush(self) -> str:
        self._stage.redis.flushall()
        return "FLUSHALL"

    def _evict(self) -> str:
        redis, short = self._stage.redis, self._chance.choice(contracts.SHORTS)
        there = sorted(scan(redis, short))
        gone = self._chance.sample(there, min(EVICTED, len(there)))
        for key in gone:  # read and removed in one step: whatever is written later brings it back
            version: Any = redis.eval(EVICT, 1, key, short)
            if version is not None:
                self.evicted[key] = int(version)
        return f"{len(gone)} of {short}"

    def _delete_position(self) -> str:
        short = self._chance.choice(self._stage.shorts)
        self._stage.redis.delete(self._stage.record(short, "position"))
        return short

    def _kill_snapshot_worker(self) -> str:
        """Everything is copied again, and one of those who read for it dies."""
        for short in contracts.SHORTS:
            self._stage.redis.delete(self._stage.record(short, "position"))
        process = psutil.Process(self._stage.active().process.pid)
        end = time.monotonic() + WORKER_S
        while time.monotonic() < end:
            for child in process.children():
                if "spawn_main" in " ".join(child.cmdline()):
                    self._some_time(0, 1)
                    child.kill()
                    return "every contract copied again, a worker killed"
            time.sleep(0.05)
        return "every contract copied again, without a worker"

    def _delete_lease(self) -> str:
        short = self._chance.choice(self._stage.shorts)
        self._stage.redis.delete(self._stage.record(short, "lease"))
        return short

    def _delete_functions(self) -> str:
        self._stage.redis.execute_command("FUNCTION", "FLUSH")
        return "FUNCTION FLUSH"

    def _step_down(self) -> str:
        return f"now {self._stage.replica_set.step_down().address}"

    def _kill_primary(self) -> str:
        primary = self._stage.replica_set.wait_for_primary()
        return self._kill_member(self._stage.replica_set.members.index(primary))

    def _kill_secondary(self) -> str:
        members = self._stage.replica_set.members
        primary = self._stage.replica_set.wait_for_primary()
        return self._kill_member(self._chance.choice([n for n, m in enumerate(members) if m is not primary]))

    def _kill_member(self, number: int) -> str:
        self._stage.replica_set.members[number].kill()
        seconds = self._some_time(0.2, 3)
        self._stage.start_member(number)
        return f"member {number}, started again after {seconds:.1f} s"

    def _edit(self) -> str:
        self._stage.wait_daemons()
        short = self._chance.choice(contracts.SHORTS)
        fields = contracts.edited(short, self._chance)
        contracts.write(self._stage.directories, short, fields, version="1.1.0")
        seconds = self._some_time(1, 5)
        contracts.write(self._stage.directories, short)
        return f"{short} has {', '.join(fields)} for {seconds:.1f} s"

    def _break_contract(self) -> str:
        self._stage.wait_daemons()  # a daemon that starts with such a contract rightly refuses to
        short = self._chance.choice(contracts.SHORTS)
        for directory in self._stage.directories:
            directory.write_text(short, "redis: [")
        time.sleep(2)
        contracts.write(self._stage.directories, short)
        return f"{short} for 2 s"

    def _rename(self) -> str:
        short = self._chance.choice(contracts.SHORTS)
        return f"{short} for {self._hand_over(handovers.renamed(short)):.1f} s"

    def _move(self) -> str:
        short = self._chance.choice(contracts.SHORTS)
        return f"of {short} for {self._hand_over(handovers.moved(short)):.1f} s"

    def _swap(self) -> str:
        one, other = self._chance.sample(contracts.SHORTS, 2)
        return f"{one} and {other} for {self._hand_over(handovers.swapped(one, other)):.1f} s"

    def _remove(self) -> str:
        short = self._chance.choice(contracts.SHORTS)
        return f"{short} for {self._hand_over(handovers.removed(short)):.1f} s"

    def _hand_over(self, edit: handovers.Edit) -> float:
        """Both daemons get it at once, and it is undone after some seconds."""
        self._stage.wait_daemons()
        for directory in self._stage.directories:
            edit(directory)
        seconds = self._some_time(1, 5)
        for directory in self._stage.directories:
            contracts.restore(directory)
        return seconds

    def _roll(self) -> str:
        """The daemons get an edit one after the other, by a reload or a start, and in the same way it is undone."""
        self._stage.wait_daemons()
        what, edit = handovers.any_of(self._chance)
        said = []
        for now in (edit, contracts.restore):
            for number in self._chance.sample(range(len(self._stage.daemons)), len(self._stage.daemons)):
                now(self._stage.directories[number])
                how = self._chance.choice(("reloads", "is stopped", "is killed"))
                self._take_files(self._stage.daemons[number], how)
                said.append(f"daemon {number} {how}")
                self._some_time(0.5, 4)
        return f"{what}; {', '.join(said)}"

    def _take_files(self, daemon: Daemon, how: str) -> None:
        if how == "reloads":
            return
        if how == "is killed":
            daemon.kill()
        else:
            daemon.terminate(30)
        self._stage.start_daemon(daemon)

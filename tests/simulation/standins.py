"""`threading`, `queue`, `time` and `gc` as syncd's modules see them in a simulation: tasks of the loop, and its clock.

They are given to syncd's modules alone, as these are imported: so no line of syncd is another one here.
"""

from __future__ import annotations

import builtins
import gc as real_gc
import importlib
import pkgutil
import queue as real_queue
import time as real_time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.simulation.loop import CURRENT, Process, Task, Ticket, current

PACKAGES = (
    "syncd.plan", "syncd.stores", "syncd.lanes", "syncd.to_redis", "syncd.both", "syncd.to_mongo",
    "syncd.telemetry", "syncd.executors",
)  # fmt: skip


class Thread:
    """A task."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str = "",
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.name, self.daemon = name, daemon
        self._target, self._args, self._kwargs = target, args, kwargs or {}
        self._task: Task | None = None

    def start(self) -> None:
        """From now on it runs beside the others."""
        loop = current()
        assert loop.current is not None
        self._task = loop.spawn(loop.current.process, self.run, self)

    def run(self) -> None:
        """What it does."""
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._task is not None and not self._task.is_done

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        loop = current()
        until = None if timeout is None else loop.clock + timeout
        while self.is_alive() and (until is None or loop.clock < until):
            loop.park(0.01)


class Timer(Thread):
    """Never rings: what syncd leaves to timers collects garbage or reports what was counted, for the whole process,
    and must not reach from one run into the next."""

    def __init__(self, interval: float, function: Callable[[], Any]) -> None:
        super().__init__(target=function)

    def start(self) -> None:
        """Nothing begins."""

    def cancel(self) -> None:
        """Nothing ends."""


def current_thread() -> Any:
    """The thread of the current task."""
    task = current().current
    return None if task is None else task.what


class Event:
    """As of `threading`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Ticket] = []

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Wake the threads that wait."""
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            current().wake(task)

    def clear(self) -> None:
        """As before it was set."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        loop = current()
        if not self._is_set:
            self._waiting.append(loop.ticket())
            loop.park(timeout)
        return self._is_set


class Lock:
    """Of a process: what another process does holds up no thread, also where both use the same module."""

    def __init__(self) -> None:
        self._held: dict[Process, Task] = {}
        self._waiting: dict[Process, deque[Ticket]] = {}

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for it."""
        task = current().current if CURRENT else None
        if task is None:
            return True
        while (holder := self._held.get(task.process)) is not None and not holder.is_done:
            self._waiting.setdefault(task.process, deque()).append(current().ticket())
            current().park()
        self._held[task.process] = task
        return True

    def release(self) -> None:
        """Let the next one have it."""
        task = current().current if CURRENT else None
        if task is None:
            return
        self._held.pop(task.process, None)
        waiting = self._waiting.pop(task.process, None)
        for other in waiting or ():
            current().wake(other)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Semaphore:
    """As of `threading`."""

    def __init__(self, value: int = 1) -> None:
        self._value = value
        self._waiting: deque[Ticket] = deque()

    def acquire(self) -> bool:
        """Wait for a permit."""
        loop = current()
        while self._value == 0:
            self._waiting.append(loop.ticket())
            loop.park()
        self._value -= 1
        return True

    def release(self) -> None:
        """Give one back."""
        self._value += 1
        if self._waiting:
            current().wake(self._waiting.popleft())


class Condition:
    """As of `threading`, with a lock of its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[Ticket] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Without the lock until another thread notifies."""
        self._waiting.append(current().ticket())
        self._lock.release()
        woken = current().park(timeout)
        self._lock.acquire()
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Until something is so."""
        until = None if timeout is None else current().clock + timeout
        while not (said := predicate()):
            left = None if until is None else until - current().clock
            if left is not None and left <= 0:
                break
            self.wait(left)
        return said

    def notify_all(self) -> None:
        """Wake all."""
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            current().wake(task)

    def notify(self, n: int = 1) -> None:
        """Wake some."""
        waiting, self._waiting = self._waiting[:n], self._waiting[n:]
        for task in waiting:
            current().wake(task)


class SimpleQueue:
    """As of `queue`."""

    longest = 0
    """The most items that any queue of this run held."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: deque[Ticket] = deque()

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def put(self, item: Any) -> None:
        """At the end."""
        self._items.append(item)
        SimpleQueue.longest = max(SimpleQueue.longest, len(self._items))
        if self._waiting:
            current().wake(self._waiting.popleft())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The first item, when there is one."""
        loop = current()
        until = None if timeout is None else loop.clock + timeout
        while not self._items:
            left = None if until is None else until - loop.clock
            if not block or (left is not None and left <= 0):
                raise real_queue.Empty
            self._waiting.append(loop.ticket())
            loop.park(left)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """The first item, if there is one now."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many there are."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether there are none."""
        return not self._items


def _sleep(seconds: float) -> None:
    current().park(seconds)


def _monotonic() -> float:
    return current().clock if CURRENT else 0.0


def _time() -> float:
    return current().epoch_s if CURRENT else real_time.time()


STANDINS: dict[str, Any] = {
    "threading": SimpleNamespace(
        Thread=Thread, Timer=Timer, Event=Event, Lock=Lock, RLock=Lock, Semaphore=Semaphore, Condition=Condition,
        current_thread=current_thread, local=SimpleNamespace,
    ),
    "queue": SimpleNamespace(SimpleQueue=SimpleQueue, Queue=SimpleQueue, Empty=real_queue.Empty, Full=real_queue.Full),
    "time": SimpleNamespace(
        monotonic=_monotonic, time=_time, sleep=_sleep, perf_counter=_monotonic, thread_time=_monotonic,
        process_time=_monotonic,
    ),
    "gc": SimpleNamespace(collect=lambda: 0, freeze=real_gc.freeze, disable=lambda: None, enable=lambda: None),
}  # fmt: skip


def import_syncd() -> None:
    """Import syncd under the stand-ins; before anything else has imported its lanes."""
    for name in (
        "pymongo",
        "redis",
        "hiredis",
        "structlog",
        "prometheus_client",
        "pydantic_settings",
        "bson.json_util",
    ):
        importlib.import_module(name)
    with _standing_in():
        for package in PACKAGES:
            module = importlib.import_module(package)
            for found in pkgutil.walk_packages(module.__path__, f"{package}."):
                importlib.import_module(found.name)
    _read_once(importlib.import_module("redis.utils"), "get_lib_version")
    from tests.simulation.mongo.client import client_of

    importlib.import_module("syncd.stores.mongo.store").MongoClient = client_of  # type: ignore[attr-defined]


def _read_once(module: ModuleType, name: str) -> None:
    """What a function says, without its asking the disk each time."""
    said = getattr(module, name)()
    setattr(module, name, lambda: said)


@contextmanager
def _standing_in() -> Iterator[None]:
    real: Callable[..., ModuleType] = builtins.__import__

    def standing_in(name: str, globals: Any = None, *rest: Any, **more: Any) -> Any:
        if name in STANDINS and str((globals or {}).get("__name__", "")).startswith("syncd."):
            return STANDINS[name]
        return real(name, globals, *rest, **more)

    builtins.__import__ = standing_in  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.__import__ = real

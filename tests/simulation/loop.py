"""One thread, a clock of its own, and tasks in an order that a seed decides.

A task is what would be a thread of a daemon. It runs until it waits for something: then another goes on. So whatever
could happen between two calls to a store may happen here, and happens again with the same seed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import greenlet

EPOCH_S = 1_790_000_000.0
"""When a run begins, in epoch seconds."""
STEP_S = 0.0002
"""What a step takes, at most."""
MOST_STEPS = 200_000


class Killed(greenlet.GreenletExit):
    """The process of this task is gone."""


class Stuck(AssertionError):
    """Far more steps than a run needs."""


class Process:
    """What tasks belong to: it can be paused and killed as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_paused = self.is_dead = False
        self.tasks: list[Task] = []


class Task:
    """Something that runs beside others."""

    def __init__(self, loop: Loop, process: Process, work: Callable[[], None], what: Any) -> None:
        self.process, self.what = process, what
        self.greenlet = greenlet.greenlet(work, loop.hub)
        self.waits = 0
        """Grows with every wait, so that a late timer wakes no thread."""
        self.is_waiting = self.was_woken = False

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return bool(self.greenlet.dead)


class Ticket(NamedTuple):
    """One wait of a task."""

    task: Task
    number: int


class Loop:
    """Runs tasks and timed events until told to stop."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.hub = greenlet.getcurrent()
        self.clock = 1000.0
        """Seconds."""
        self.steps = 0
        self.current: Task | None = None
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.failure: BaseException | None = None

    @property
    def epoch_s(self) -> float:
        """What `time.time()` says."""
        return EPOCH_S + self.clock

    def spawn(self, process: Process, work: Callable[[], None], what: Any = None) -> Task:
        """A new task, which runs when its turn comes."""

        def run() -> None:
            try:
                work()
            except Killed:
                pass
            except Exception as error:
                self.failure = self.failure or error

        task = Task(self, process, run, what)
        process.tasks.append(task)
        self._ready.append(task)
        return task

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Call something later."""
        heapq.heappush(self._timers, (self.clock + seconds, next(self._numbers), what))

    def park(self, seconds: float | None = None) -> bool:
        """The current task waits to be woken. False where that took too long."""
        task = self.current
        assert task is not None, "only a task can wait"
        if task.process.is_dead:
            raise Killed
        task.waits += 1
        task.is_waiting, task.was_woken = True, False
        if seconds is not None:
            self.after(max(0.0, seconds), self._alarm(task, task.waits))
        self.hub.switch()
        return task.was_woken

    def _alarm(self, task: Task, number: int) -> Callable[[], None]:
        def ring() -> None:
            if task.is_waiting and task.waits == number:
                self._resume(task, woken=False)

        return ring

    def ticket(self) -> Ticket:
        """Names the wait that the current task is about to begin."""
        assert self.current is not None, "only a task can wait"
        return Ticket(self.current, self.current.waits + 1)

    def wake(self, ticket: Ticket) -> None:
        """What it waited for is there. A thread that waits for something else by now goes on waiting."""
        task, number = ticket
        if task.is_waiting and task.waits == number:
            self._resume(task, woken=True)

    def _resume(self, task: Task, *, woken: bool) -> None:
        task.is_waiting, task.was_woken = False, woken
        if not task.is_done:
            self._ready.append(task)

    def let_others(self) -> None:
        """Anything may happen before the current task goes on."""
        task = self.current
        if task is None:
            return
        if task.process.is_dead:
            raise Killed
        self._ready.append(task)
        self.hub.switch()

    def kill(self, process: Process) -> None:
        """End all tasks of a process at once."""
        process.is_dead = True
        for task in process.tasks:
            task.is_waiting = False
            if not task.is_done and task is not self.current:
                before, self.current = self.current, task
                task.greenlet.throw(Killed)
                self.current = before
        self._ready = [task for task in self._ready if task.process is not process]
        process.tasks.clear()

    def step(self) -> None:
        """One task goes on, or time passes to the next timer."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"{MOST_STEPS} steps and no end")
        self.clock += self.random.random() * STEP_S
        self._ring()
        ready = [at for at, task in enumerate(self._ready) if not task.process.is_paused]
        if not ready:
            if self._timers:
                self.clock = max(self.clock, self._timers[0][0])
                self._ring()
            return
        at = ready[int(self.random.random() * len(ready))]
        task = self._ready[at]
        self._ready[at] = self._ready[-1]
        self._ready.pop()
        self._run(task)

    def _ring(self) -> None:
        while self._timers and self._timers[0][0] <= self.clock:
            heapq.heappop(self._timers)[2]()

    def _run(self, task: Task) -> None:
        self.current = task
        try:
            task.greenlet.switch()
        finally:
            self.current = None
        if task.is_done:
            task.process.tasks = [one for one in task.process.tasks if one is not task]
        if self.failure is not None:
            raise self.failure

    @property
    def is_idle(self) -> bool:
        """Whether no thread can go on before time passes."""
        return all(task.process.is_paused for task in self._ready)


CURRENT: list[Loop] = []
"""The loop of the run under way is the last."""


def current() -> Loop:
    """The loop of the run under way."""
    return CURRENT[-1]

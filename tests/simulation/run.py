"""One seed: a schedule, and what came of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tests.simulation.both.contracts import KINDS as BOTH_KINDS
from tests.simulation.both.faults import FAULTS as BOTH_FAULTS
from tests.simulation.both.workload import BothWorkload
from tests.simulation.both.world import BothWorld
from tests.simulation.contracts import KINDS, OF_ELEMENTS, OF_JOINS, OF_MEMBERS, OF_SHARED
from tests.simulation.faults import FAULTS, Fault, Faults
from tests.simulation.faults import OF_JOINS as JOIN_FAULTS
from tests.simulation.kinds.joins import JoinWorkload
from tests.simulation.kinds.one_way import OneWayWorld
from tests.simulation.kinds.shared import SharedWorkload
from tests.simulation.redis.scripts import Library
from tests.simulation.watcher import Broken
from tests.simulation.workload import Workload
from tests.simulation.world import World

HEALED_S = 200.0
"""Long enough for every pause that a lane makes after faults, on the simulated clock."""


@dataclass(frozen=True)
class Result:
    """Of a seed."""

    seed: int
    promise: str = ""
    """The one that was broken; empty where all held."""
    what: str = ""
    steps: int = 0
    trace: tuple[str, ...] = ()


WAYS: dict[str, tuple[Collection[str], type[Workload], Faults]] = {
    "": (KINDS, Workload, FAULTS),
    "each": (OF_ELEMENTS, Workload, FAULTS),
    "members": (OF_MEMBERS, Workload, FAULTS),
    "joins": (OF_JOINS, JoinWorkload, JOIN_FAULTS),
    "shared": (OF_SHARED, SharedWorkload, FAULTS),
}
"""The kinds of contracts from MongoDB to Redis, what writes, and what goes wrong."""
BOTH = "both"


def run(seed: int, way: str = "", *, library: Library | None = None, traced: bool = False) -> Result:
    """Run one seed to its end. `way`: which contracts, a word of WAYS, or BOTH for those that go both ways."""
    kinds, workload, faults = (list(BOTH_KINDS), Workload, BOTH_FAULTS) if way == BOTH else WAYS[way]
    kind = list(kinds)[seed % len(kinds)]
    world = BothWorld(seed, kind, library) if way == BOTH else OneWayWorld(seed, kind, library)
    if traced:
        world.trace = []
    broken = ("", "")
    try:
        schedule = (
            Schedule(world, BothWorkload(world), faults)
            if isinstance(world, BothWorld)
            else Schedule(world, workload(world), faults)
        )
        schedule.run()
    except Broken as error:
        broken = error.promise, str(error)
    except Exception as error:  # a bug of the simulation, or of syncd
        broken = "bug", f"{type(error).__name__}: {error}"
        if traced:
            raise
    finally:
        world.end()
    return Result(seed, *broken, world.loop.steps, tuple(world.trace or ()))


class Applications(Protocol):
    """What writes while syncd works."""

    lags: bool
    """Whether a majority takes its time."""

    def write(self) -> None:
        """One change."""

    def noise(self) -> None:
        """Something that is of no collection, which a majority has, as all before it."""


class Schedule:
    """A random order of everything."""

    def __init__(self, world: World, workload: Applications, faults: Faults) -> None:
        self._world, random = world, world.random
        self._workload = workload
        self._writes, self._faults = random.randrange(5, 40), random.randrange(0, 7)
        self._pace = random.choice([0.03, 0.1, 0.3])
        """How likely the next step is one of an application."""
        self._burst = random.random() < 0.5
        self._chosen = _some_faults(random, faults)

    def run(self) -> None:
        """All of it, then without faults to the end."""
        world = self._world
        for _ in range(world.random.randrange(0, 8)):
            self._workload.write()
        world.start(1)
        while self._writes or self._faults:
            self._step()
        self._heal()
        self._come_to_rest()
        self._stay_at_rest()
        world.checker.at_end(world.kills)

    def _step(self) -> None:
        world, random = self._world, self._world.random
        while world.due:
            world.due.pop()()
        is_idle = world.loop.is_idle
        if random.random() < (0.5 if is_idle else self._pace):
            if self._faults and random.random() < self._faults / (self._faults + self._writes):
                self._faults -= 1
                random.choice(self._chosen)(world)
            elif self._writes:
                self._writes -= 1
                self._workload.write()
        elif world.on_the_way and random.random() < 0.3:
            world.arrive()
        else:
            world.loop.step()
        world.checker.so_far()

    def _heal(self) -> None:
        """No more faults, and one daemon at least."""
        world = self._world
        world.note("heal")
        world.at_send.clear()
        world.due.clear()
        world.loss, world.down_until, world.redis.is_full = 0.0, 0.0, False
        world.redis.refuses = lambda name, args: None
        self._workload.lags = False
        self._workload.noise()
        for daemon in list(world.daemons):
            daemon.cut_redis = daemon.cut_mongo = 0.0
            daemon.process.is_paused = False
            if daemon.version != world.version:
                world.kill(daemon)
        if not any(d.lane is None or not d.lane.is_stopping for d in world.daemons):
            world.start(world.version)

    def _come_to_rest(self) -> None:
        """Until both sides are the same."""
        world, left = self._world, ["nothing was compared"]
        until = world.loop.clock + HEALED_S
        while world.loop.clock < until:
            for _ in range(20):
                if world.on_the_way and world.random.random() < 0.3:
                    world.arrive()
                world.loop.step()
            world.checker.so_far()
            left = world.checker.differences(world.redis)
            if not left:
                return
        states = [
            (d.process.name, d.lane and d.lane.status.state, d.lane and d.lane.status.error)
            for d in world.daemons
        ]
        raise Broken("nothing_lost", f"after {HEALED_S:g} s: {left[:3]}; {states}")

    def _stay_at_rest(self) -> None:
        """Nothing happens any more, where that is looked at."""
        world, until = self._world, self._world.loop.clock + self._world.rest_s
        world.checker.is_at_rest = True
        while world.loop.clock < until:
            for _ in range(20):
                if world.on_the_way and world.random.random() < 0.3:
                    world.arrive()
                world.loop.step()
            world.checker.so_far()


def _some_faults(random: Random, faults: Faults) -> list[Fault]:
    """Each seed has faults of a few kinds only: many kinds at once hide one another."""
    names = random.choices(list(faults), [weight for _, weight in faults.values()], k=random.randrange(1, 5))
    return [faults[name][0] for name in names]

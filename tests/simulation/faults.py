"""What goes wrong: each fault is a function that does it to a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.contracts import COLLECTION
from tests.simulation.kinds.one_way import OneWayWorld
from tests.simulation.world import LEASE_S, Daemon, World

Fault = Callable[[Any], None]
Faults = dict[str, tuple[Fault, int]]
"""By name, with how often one is chosen."""


def _any(world: World) -> Daemon | None:
    return world.random.choice(world.daemons) if world.daemons else None


def kill(world: World) -> None:
    """A daemon dies, and mostly another one starts."""
    if (daemon := _any(world)) is not None:
        _now_or_at_send(world, daemon, lambda: _kill(world, daemon))


def _kill(world: World, daemon: Daemon) -> None:
    if daemon in world.daemons:
        world.kill(daemon)
        if world.random.random() < 0.7:
            world.start(daemon.version)


def _now_or_at_send(world: World, daemon: Daemon, fault: Callable[[], None]) -> None:
    """Half of them while something is on its way, or they would seldom hit that."""
    if world.random.random() < 0.5:
        fault()
    else:
        world.at_send[daemon.process] = fault


def stop(world: World) -> None:
    """A daemon is told to stop, and another one starts."""
    daemon = _any(world)
    if daemon is not None and daemon.lane is not None:
        world.note(f"stop {daemon.process.name}")
        daemon.lane.stop()
        world.start(daemon.version)


def overlap(world: World) -> None:
    """One more daemon."""
    if len(world.daemons) < 3:
        world.start(max((daemon.version for daemon in world.daemons), default=1))


def edit(world: OneWayWorld) -> None:
    """A daemon with another version of the contract."""
    if world.version == 1 and len(world.daemons) < 3:
        world.version = 2
        world.checker.deployed(2, world.mongo.oplog.entries[-1].token)
        world.start(2)
        for daemon in [daemon for daemon in world.daemons if daemon.version == 1]:
            if world.random.random() < 0.5 and daemon.lane is not None:
                daemon.lane.stop()


def pause(world: World) -> None:
    """A daemon sleeps, mostly for longer than its lease."""
    if (daemon := _any(world)) is not None:
        _now_or_at_send(world, daemon, lambda: _pause(world, daemon))


def _pause(world: World, daemon: Daemon) -> None:
    world.note(f"pause {daemon.process.name}")
    daemon.process.is_paused = True
    world.hold(daemon)
    seconds = world.random.choice([0.01, LEASE_S / 2, LEASE_S * 1.5, LEASE_S * 3])
    world.loop.after(seconds, lambda: setattr(daemon.process, "is_paused", False))


def cut_redis(world: World) -> None:
    """Nothing of a daemon reaches Redis for a while."""
    if (daemon := _any(world)) is not None:
        daemon.cut_redis = world.loop.clock + world.random.choice([0.01, 1.0, LEASE_S * 2])


def cut_mongo(world: World) -> None:
    """Nothing of a daemon reaches MongoDB for a while."""
    if (daemon := _any(world)) is not None:
        daemon.cut_mongo = world.loop.clock + world.random.choice([0.01, 1.0, LEASE_S * 2])


def loss(world: World) -> None:
    """Connections break now and then."""
    world.loss = 0.02
    world.loop.after(2.0, lambda: setattr(world, "loss", 0.0))


def elect(world: World) -> None:
    """Another primary of MongoDB; what no majority had is taken back."""
    lost = world.mongo.elect()
    world.note(f"election, {lost} changes taken back")


def cut_off(world: World) -> None:
    """The oplog no longer reaches back."""
    world.mongo.oplog.cut_off(1 + world.random.randrange(3))
    world.note("the oplog is cut off")


def drop(world: World) -> None:
    """The collection goes."""
    oplog = world.mongo.oplog
    if COLLECTION in oplog.collections:
        time = oplog.next_time()
        world.note("drop")
        oplog.note("drop", COLLECTION, None, None, None, time=time)
        oplog.note("invalidate", COLLECTION, None, None, None, time=time)
        oplog.commit()


def fail_over(world: OneWayWorld) -> None:
    """A replica of Redis takes over, without the last writes."""
    lost = world.redis.data.undo(world.random.choice([0, 1, 2, 5, 10]))
    keys = {key for call in lost for key in call.before}
    world.redis.run += 1
    world.down_until = world.loop.clock + world.random.choice([0.0, 0.5])
    world.note(f"fail-over, {len(lost)} calls lost: {keys}")
    world.checker.went_back(world.redis, keys)


def flush(world: OneWayWorld) -> None:
    """FLUSHALL."""
    keys = set(world.redis.data)
    world.note("flush")
    for key in keys:
        world.redis.data.remove(key)
    world.redis.data.calls.clear()
    world.checker.went_back(world.redis, keys)


def evict(world: OneWayWorld) -> None:
    """A key of the contract goes, or one of syncd's own."""
    keys = sorted(world.redis.data)
    ours = [key for key in keys if not key.startswith(b"syncd:")]
    if world.random.random() < 0.2:
        ours = [key for key in keys if key.endswith((b":position", b":lease", b":stale"))]
    if ours:
        key = world.random.choice(ours)
        world.note(f"evict {key!r}")
        world.redis.data.remove(key)
        world.redis.data.calls.clear()
        world.checker.removed(key.decode())


def fill(world: World) -> None:
    """Redis is at maxmemory for a while."""
    world.redis.is_full = True
    world.loop.after(world.random.choice([0.05, 2.0]), lambda: setattr(world.redis, "is_full", False))


def refuse(world: OneWayWorld) -> None:
    """Redis refuses writes of one key for a while, as a module or an ACL may."""
    names = sorted(world.timeline.lines)
    if not names:
        return
    key = world.random.choice(names).encode().partition(b" ")[0]
    world.note(f"refuse {key!r}")

    def refuses(name: bytes, args: list[bytes]) -> str | None:
        is_write = name in (b"HSET", b"JSON.SET", b"ZADD", b"SADD") and args[0] == key
        return "ERR refused" if is_write else None

    world.redis.refuses = refuses
    world.checker.refused.add(key.decode())
    world.loop.after(
        world.random.choice([0.01, 1.0]), lambda: setattr(world.redis, "refuses", lambda n, a: None)
    )


def shift_clock(world: World) -> None:
    """Redis's clock jumps."""
    seconds = world.random.choice([-3600.0, -5.0, 5.0])
    world.note(f"the clock of Redis jumps by {seconds:g} s")
    world.redis_clock += seconds


FAULTS: Faults = {
    "kill": (kill, 6), "stop": (stop, 2), "overlap": (overlap, 3), "edit": (edit, 2), "pause": (pause, 4),
    "cut_redis": (cut_redis, 2), "cut_mongo": (cut_mongo, 2), "loss": (loss, 2), "elect": (elect, 3),
    "cut_off": (cut_off, 2), "drop": (drop, 1), "fail_over": (fail_over, 3), "flush": (flush, 1), "evict": (evict, 3),
    "fill": (fill, 1), "refuse": (refuse, 3), "shift_clock": (shift_clock, 1),
}  # fmt: skip
OF_JOINS: Faults = FAULTS | {"elect": (elect, 12), "drop": (drop, 3)}
"""More of what reads an earlier moment, and of what begins a copy."""

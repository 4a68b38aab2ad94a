"""A model of both stores around the apply log, driven at random: real units and watermarks, no server.

A change has a version, its number in the stream. A key shows the version that was written last. Whatever would be seen
by a reader as a promise broken raises AssertionError in the step that does it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from syncd.plan.keys.templates import decode_key_value, encode_key_value
from syncd.plan.to_redis.change import AnsweredDeadLetters, Dead, Drop, Patch, Put, Write
from syncd.stores.mongo.reads.lookup import Found
from syncd.stores.mongo.times import ZERO, Moment, token_time
from syncd.stores.redis.records.position import SNAPSHOT, STREAM, SWEEP, ControlKeys, Position
from syncd.to_redis.apply.apply_log import MOST_IN_FLIGHT, Answer, ApplyLog, Do
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.refusals import take_refusal
from syncd.to_redis.apply.units import Step, Unit, WindowUnit
from syncd.to_redis.copy.copier import Chunk, Reads
from syncd.to_redis.copy.repair import ReplayUnit
from syncd.to_redis.copy.survey import Orphans
from syncd.to_redis.copy.units import units_of
from syncd.to_redis.stream.change_stream import Batch
from syncd.to_redis.stream.read_ahead import ReadAhead
from syncd.to_redis.stream.window import Window

SHAPE: Any = SimpleNamespace(name="card", by_id=True, each=False, is_shared=False, stale=lambda ident: None)
CONTROL = ControlKeys("model")


def at(number: int) -> Moment:
    return f"{number:016X}"


def token_of(time: int, number: int) -> dict[str, Any]:
    """Behind so many changes. As MongoDB's, those of one time are in the order of their text."""
    return {"_data": f"82{at(time)}{number:08X}", "n": number}


class Source:
    """MongoDB: changes in order, and what was there at any time."""

    def __init__(self, random: Random, ids: int) -> None:
        self.random, self.ids = random, range(ids)
        self.events: list[dict[str, Any]] = []
        self.now = 10
        self.history: dict[str, list[tuple[Moment, int, bool]]] = {}
        for number in self.ids:
            if random.random() < 0.7:
                self._write(encode_key_value(number), 0, exists=True)

    def _write(self, ident: str, version: int, *, exists: bool) -> None:
        self.history.setdefault(ident, []).append((at(self.now), version, exists))

    def state(self, ident: str, time: Moment) -> tuple[int, bool]:
        """Version, and whether it is there."""
        found = [(version, exists) for since, version, exists in self.history.get(ident, ()) if since <= time]
        return found[-1] if found else (0, False)

    def change(self) -> None:
        """A transaction: all of its changes have one time."""
        self.now += self.random.choice([1, 1, 5])
        for _ in range(self.random.choice([1, 1, 1, 3])):
            number = self.random.choice(self.ids)
            ident, version = encode_key_value(number), len(self.events) + 1
            before, exists = self.state(ident, at(self.now))
            op = self.random.choice(["update", "update", "replace", "delete"]) if exists else "insert"
            event: dict[str, Any] = {
                "_id": token_of(self.now, version),
                "operationType": op,
                "documentKey": {"_id": number},
            }
            if op == "update":
                event["updateDescription"] = {"before": before, "v": version}
            elif op != "delete":
                event["fullDocument"] = {"_id": number, "v": version}
            self.events.append(event)
            self._write(ident, version, exists=op != "delete")

    def by_ids(self, ids: list[Any], after: Moment) -> Found:
        """A read at any time that is allowed: also one behind what others have seen."""
        assert after <= at(self.now)
        time = at(self.random.randint(int(after, 16), self.now))
        documents = {}
        for number in ids:
            version, exists = self.state(encode_key_value(number), time)
            if exists:
                documents[encode_key_value(number)] = {"_id": number, "v": version}
        return Found(documents, time, self.random.random() > 0.1)

    deletes_may_move = False


class Projection:
    """A plan of one projection that has the version in it."""

    shapes = (SHAPE,)
    feeds = joins = ()

    def __init__(self, *, filtered: bool = False) -> None:
        """`filtered`: nearly every change is answered by a read."""
        self.filter = {} if filtered else None
        self.deltas = SimpleNamespace(read=lambda description: description)

    def puts(self, ident: str, document: Mapping[str, Any], time: Moment, _: object) -> list[Write]:
        return [Put(SHAPE, ident, ident, {"v": document["v"]}, 0, time)]

    def copies(self, documents: Mapping[str, Mapping[str, Any]], time: Moment) -> list[Write]:
        return [
            put for ident, document in documents.items() for put in self.puts(ident, document, time, None)
        ]

    def drops(self, ident: str, _: Any, *, deleted: bool) -> list[Write]:
        return [Drop(SHAPE, ident, ident)]

    def patches(self, ident: str, _: Any, deltas: list[Any]) -> list[Write]:
        sets = {"before": deltas[0]["before"], "v": deltas[-1]["v"]}
        return [Patch(SHAPE, ident, ident, sets, frozenset(), 0)]

    def patched(self, writes: list[Any], deltas: list[Any]) -> list[Write]:
        return [write._replace(content={"v": deltas[-1]["v"]}) for write in writes]


class Target:
    """Redis: what keys show, and the position, which goes along with a call or not at all."""

    def __init__(self, source: Source, random: Random) -> None:
        self.source, self.random = source, random
        # Keys of long ago: older than anything in the stream.
        self.there: set[str] = {encode_key_value(number) for number in source.ids if random.random() < 0.5}
        self.shown: dict[str, int] = dict.fromkeys(self.there, -1)
        self.stale: set[str] = set()
        self.position = Position(phase=SNAPSHOT)

    def apply(self, writes: list[Write], versions: dict[str, int], after: Position) -> tuple[Answer, Any]:
        refused = [(n, "absent") for n, write in enumerate(writes) if self._is_absent(write)]
        odd = [n for n, write in enumerate(writes) if isinstance(write, Put | Patch | Drop)]
        trouble = self.random.random()
        if not refused and odd and trouble < 0.06:
            refused = [(self.random.choice(odd), "type")]
        if refused:
            return Answer.REFUSED, refused
        if odd and trouble < 0.12:
            failing = self.random.choice(odd)
            for n, write in enumerate(writes):
                if (
                    n != failing
                    and not isinstance(write, Dead | AnsweredDeadLetters)
                    and self.random.random() < 0.7
                ):
                    self._write(write, versions)
            # syncd_apply remembers how late the states are that may show.
            self.position.read_watermark = max(after.time, after.read_watermark, self.position.read_watermark)
            return Answer.FAILED, [(failing, "ERR of some kind")]
        for write in writes:
            self._write(write, versions)
        self.check_position(after)
        self.position = after
        return Answer.APPLIED, ()

    def check_position(self, after: Position) -> None:
        assert after.read_watermark >= self.position.read_watermark, "the read watermark went back"
        assert reached(after) >= reached(self.position), "the position went back"

    def _is_absent(self, write: Write) -> bool:
        return isinstance(write, Patch) and (write.ident not in self.there or write.ident in self.stale)

    def _write(self, write: Write, versions: dict[str, int]) -> None:
        if isinstance(write, Dead):
            self.stale.add(write.ident)
        if not isinstance(write, Put | Patch | Drop):
            return
        ident, shown = write.ident, self.shown.get(write.ident, 0)
        version = versions[ident]
        if isinstance(write, Put):
            version = write.content["v"]
        elif isinstance(write, Patch):
            assert write.sets["before"] == shown, f"never_torn: a change of {write.sets} on {shown}"
            version = write.sets["v"]
        assert version >= shown, f"never_backwards: {ident} from {shown} to {version}"
        self.shown[ident] = version
        self.stale.discard(ident)
        (self.there.discard if isinstance(write, Drop) else self.there.add)(ident)


def reached(position: Position) -> int:
    return -1 if position.token is None else int(position.token["n"])


class Ahead:
    """What a read ahead knows of watermarks. Beside a copy it would mostly be in vain; here it is always made."""

    copying = False

    def __init__(self, log: ApplyLog[Unit, Any]) -> None:
        self._log = log

    @property
    def horizon(self) -> Moment:
        return self._log.watermarks.horizon


class World:
    """One lane with its reader of a copy, through any number of crashes."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.plan: Any = Projection(filtered=seed % 2 == 1)
        self.source = Source(random, ids=6)
        self.target = Target(self.source, random)
        first = token_of(self.source.now, 0)
        begun = Position(
            token=first, time=at(self.source.now), read_watermark=at(self.source.now), phase=SNAPSHOT
        )
        self.target.position = begun
        self.crashes = 0
        self.start()

    def start(self) -> None:
        """A run begins with what is stored."""
        stored = self.target.position
        self.log: ApplyLog[Unit, Any] = ApplyLog(stored)
        self.taken = reached(stored)
        self.builder = KeyBuilder(self.plan, self.source, self.log.watermarks)  # type: ignore[arg-type]
        self.reads, self.inbox = Reads(self.log.watermarks), []
        run: Any = SimpleNamespace(lookup=self.source, builder=self.builder, watermarks=Ahead(self.log))
        self.ahead = ReadAhead(run)
        self.windows: deque[Window] = deque()
        """Of a batch that was fetched."""
        self.on_the_way: deque[tuple[Any, Any]] = deque()
        """Calls without an answer, each with the one that it follows."""
        self.sent = self.applied = None
        self.swept = stored.phase == STREAM
        self.cursor = stored.left[0].bounds[0] if 0 in stored.left else None
        self.is_read = 0 not in stored.left or stored.phase != SNAPSHOT
        self.asked: Moment | None = None
        self.horizon = ZERO

    def crash(self) -> None:
        """The daemon dies: what was sent before is applied as far as Redis got."""
        self.crashes += 1
        for _ in range(len(self.on_the_way)):
            if self.random.random() < 0.5:
                break
            self._say()
        self.start()

    def _say(self) -> tuple[Answer, Any]:
        """What Redis does with the first call that it has not answered."""
        call, follows = self.on_the_way[0]
        self.on_the_way.rotate(-1)
        if follows is not self.applied:
            return Answer.LEFT_OUT, ()
        said = self.target.apply(call.payload, self._versions(call), call.after)
        if said[0] is Answer.APPLIED:
            self.applied = call
        return said

    def _versions(self, call: Any) -> dict[str, int]:
        """What a removal shows, of each document of a call."""
        covers, versions = call.covers, {}
        for event in call.work.window.events if isinstance(call.work, WindowUnit) else ():
            versions[encode_key_value(event["documentKey"]["_id"])] = event["_id"]["n"]
        for ident in map(encode_key_value, self.source.ids):
            if ident in covers.read:
                versions[ident] = self.source.state(ident, covers.read_time)[0]
            elif covers.range_time > ZERO:
                versions[ident] = self.source.state(ident, covers.range_time)[0]
        return versions

    def drive(self, *, drain: bool = False) -> None:
        """What `Pipeline` does."""
        while (what := self.log.next(drain=drain)) is not None:
            do, call = what
            if do is Do.BUILD:
                for number, reason in call.refusals:
                    take_refusal(call, call.payload[number], reason, CONTROL)
                draft = call.work.build(call)
                if draft is None:
                    self.log.divided(call, call.work.split())
                else:
                    self.log.built(call, draft.writes, draft.covers)
            elif do is Do.SEND:
                self.log.launched(call)
                self.launch(call)
            else:
                self._receive(call)
            assert len(self.on_the_way) <= MOST_IN_FLIGHT
            assert self.log.watermarks.horizon >= self.horizon, "the horizon went back"
            self.horizon = self.log.watermarks.horizon

    def launch(self, call: Any) -> None:
        self.on_the_way.append((call, self.sent))
        self.sent = call

    def _receive(self, call: Any) -> None:
        answer, refusals = self._say()
        self.on_the_way.pop()
        assert self.log.answered(answer, refusals) is call
        if answer is Answer.APPLIED:
            self._check_confirmed()
        else:
            self.sent = self.applied  # the next call follows this one

    def _check_confirmed(self) -> None:
        """nothing_lost: what is confirmed shows, or is a dead letter."""
        for event in self.source.events[: reached(self.log.confirmed)]:
            ident = encode_key_value(event["documentKey"]["_id"])
            shows = self.target.shown.get(ident, 0) >= event["_id"]["n"]
            assert shows or ident in self.target.stale, f"{event} is confirmed and does not show"

    def window(self) -> None:
        if not self.windows and not self._fetch():
            self.log.idle(token_of(self.source.now, self.taken), at(self.source.now - 1))
            return
        self.log.add(WindowUnit(self.windows.popleft(), self.builder))
        self.drive()

    def _fetch(self) -> int:
        """What the thread of the stream does: some windows, whose documents are read at once."""
        events = self.source.events[self.taken : self.taken + self.random.randint(1, 8)]
        self.taken += len(events)
        ahead = self.ahead.of(Batch.of(events, events[-1]["_id"])).ahead if events else None
        while events:
            some = self.random.randint(1, 5)
            part, events = events[:some], events[some:]
            last = part[-1]["_id"]
            self.windows.append(Window(part, last, token_time(last), ahead))
        return len(self.windows)

    def read(self) -> None:
        """The copy's reader asks, or hears; what it hears waits until the lane takes it."""
        if self.asked is None:
            self.asked = self.reads.after()
            return
        time = at(self.random.randint(int(self.asked, 16), self.source.now))
        self.asked = None
        self.reads.saw(time)
        first = -1 if self.cursor is None else self.cursor["_id"]
        chosen = [number for number in self.source.ids if number > first][: self.random.randint(1, 3)]
        if not self.is_read:
            states = {number: self.source.state(encode_key_value(number), time) for number in chosen}
            documents = [{"_id": number, "v": v} for number, (v, exists) in states.items() if exists]
            self.is_read = not chosen
            if chosen:
                self.cursor = {"_id": chosen[-1]}
            self.inbox.append(Chunk(documents, time, 0 if documents else None, time))
        elif not self.swept:
            self.swept = True
            drops = [
                Drop(SHAPE, ident, ident)
                for ident in map(encode_key_value, self.source.ids)
                if not self.source.state(ident, time)[1]
            ]
            self.inbox.append(Orphans(drops, time))

    def hand_over(self) -> None:
        if self.inbox:
            item = self.inbox.pop(0)
            for unit in units_of(self.builder, item, self.log, lambda: self.random.randint(1, 3)):
                self.log.add(unit)
                self.drive()
        elif self.log.position.phase == SNAPSHOT and self.is_read:
            self.log.add(Step(phase=SWEEP))
            self.drive()
        elif self.log.position.phase == SWEEP and self.swept:
            self.log.add(Step(phase=STREAM))
            self.drive()

    def replay(self) -> None:
        idents = self.random.sample([encode_key_value(number) for number in self.source.ids], 2)
        entries = {f"{n}-0": ident for n, ident in enumerate(idents)}
        self.log.add(ReplayUnit(self.builder, entries))
        self.drive()

    def step(self) -> None:
        kinds = [self.source.change, self.window, self.read, self.hand_over, self.replay, self.crash]
        kind = self.random.choices([*kinds, lambda: self.drive(drain=True)], [6, 5, 5, 4, 1, 0.3, 1])[0]
        kind()

    def finish(self) -> None:
        """Nothing changes any more, and all is done: both sides are the same."""
        while self.log.position.phase != STREAM or self.windows or self.taken < len(self.source.events):
            self.window()
            self.read()
            self.hand_over()
        self.drive(drain=True)
        self._check_confirmed()
        for number in self.source.ids:
            ident = encode_key_value(number)
            version, exists = self.source.state(ident, at(self.source.now))
            if ident not in self.target.stale:
                assert self.target.shown.get(ident, 0) == version, ident
                assert (ident in self.target.there) is exists, (
                    f"{decode_key_value(ident)}: an orphan, or lost"
                )

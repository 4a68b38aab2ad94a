"""Documents as members of keys that they share, while the daemon is killed (no_ghosts, nothing_lost, applied_once)."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from pymongo import UpdateOne

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.scale import SCALE
from tests.support.scene import Flow
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, members_of, player, wait_members

PLAYERS, REGIONS, KILLS = 400 * SCALE, 8 if SCALE == 1 else 50, 3 if SCALE == 1 else 8
BETWEEN, LONGEST_S = 10 * SCALE, 60 / KILLS
"""Rounds of moves between two kills, and for how long they go on at most: a minute in all."""
LEAGUE = {"projection": "board", "type": "zset", "key": "{region}", "member": "{_id}", "score": "points"}
COUNT_BOARDS = """
local most = 0
for _, member in ipairs(ARGV) do
  local count = 0
  for _, key in ipairs(KEYS) do
    if redis.call('ZSCORE', key, member) then count = count + 1 end
  end
  most = math.max(most, count)
end
return most"""


class Sampler:
    """Asks Redis again and again, each time in one step, on how many boards players are."""

    def __init__(self, flow: Flow) -> None:
        self.most = self.samples = 0
        self._flow, self._stop = flow, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        draw = random.Random(1)
        keys = [self._flow.key(f"r{number}", "board") for number in range(REGIONS)]
        while not self._stop.wait(0.01):
            some = draw.sample(range(PLAYERS), 50)
            said: Any = self._flow.redis.eval(COUNT_BOARDS, len(keys), *keys, *some)
            self.most, self.samples = max(self.most, said), self.samples + 1

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def moves(draw: random.Random, count: int) -> list[UpdateOne]:
    found = []
    for _ in range(count):
        change: dict[str, Any] = {"points": draw.randrange(10_000)}
        if draw.random() < 0.8:
            change["region"] = f"r{draw.randrange(REGIONS)}"
        found.append(UpdateOne({"_id": draw.randrange(PLAYERS)}, {"$set": change}))
    return found


def test_a_player_is_on_one_board(rig: Rig) -> None:
    """no_ghosts: players move between boards while the daemon is killed again and again: at no sampled moment is one on
    two boards, and in the end every board is what the documents say."""
    draw = random.Random(7)
    documents = [{"_id": n, "region": f"r{n % REGIONS}", "points": n} for n in range(PLAYERS)]
    flow = rig.scene.add("league", LEAGUE, documents=documents)
    rig.scene.start()
    flow.wait_live()
    with Sampler(flow) as sampler:
        for _ in range(KILLS):
            end = time.monotonic() + LONGEST_S
            for _ in range(BETWEEN):
                flow.collection.bulk_write(moves(draw, 100), ordered=False)
                if time.monotonic() > end:
                    break
            rig.scene.daemon.kill()
            flow.collection.bulk_write(moves(draw, 100), ordered=False)
            rig.scene.start()
            flow.wait_live()
        wait_members(flow)
        wait_until(lambda: sampler.samples > 100)
    assert sampler.most == 1


def test_a_kill_with_the_reply_on_its_way(rig: Rig) -> None:
    """applied_once: the daemon is killed after Redis has applied a call with moves, tags and departures, and before it
    saw the reply; the same call again leaves everything as the documents say."""
    flow = rig.scene.add("reply", BOARD, TAGS, NEAR, RECALL, documents=[player(n) for n in range(60)])
    rig.scene.start()
    flow.wait_live()
    wait_members(flow)
    for turn, hold in enumerate((rig.redis_proxy.hold_request, rig.redis_proxy.hold_reply)):
        held = hold(b"syncd_apply", flow.names.control("lease").encode(), b":members:board:")
        flow.collection.update_many(
            {"_id": {"$lt": 20}}, {"$set": {"game": f"go{turn}", "tags": [f"t{turn}"]}}
        )
        flow.collection.update_many({"_id": {"$gte": 50}}, {"$unset": {"points": "", "at": "", "v": ""}})
        held.wait()
        rig.scene.daemon.kill()
        rig.redis_proxy.restore()
        flow.collection.delete_many({"_id": {"$in": [turn, 30 + turn]}})
        rig.scene.start()
        flow.wait_live()
        wait_members(flow)


def test_a_map_that_is_lost(rig: Rig) -> None:
    """no_ghosts: where the map of memberships is gone, as by an eviction, syncd notices it and copies again: documents
    that move then leave where they were, and those that went meanwhile are on no board."""
    flow = rig.scene.add("lost", BOARD, documents=[player(n) for n in range(60)])
    rig.scene.start()
    flow.wait_live()
    wait_members(flow)
    flow.redis.delete(flow.names.control(f"members:board:{flow.names.prefix('board')}{{game}}"))
    flow.collection.delete_one({"_id": 1})
    flow.collection.update_one({"_id": 2}, {"$set": {"game": "go"}})
    wait_until(lambda: _lost(rig), 60)
    wait_members(flow)
    assert "1" not in members_of(flow, "board")["chess"]


def test_a_map_that_is_lost_while_all_is_copied(rig: Rig) -> None:
    """no_ghosts: where the map goes in the middle of a copy, it does not count as whole behind it: all is copied again,
    and a document that was copied before leaves its board when it goes."""
    flow = rig.scene.add("half", BOARD, documents=[player(n) for n in range(400)])
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="50")
    held = rig.redis_proxy.hold_request(b"syncd_apply", b":members:board:", nth=4)
    rig.scene.start()
    held.wait()
    flow.redis.delete(flow.names.control(f"members:board:{flow.names.prefix('board')}{{game}}"))
    held.release()
    wait_until(lambda: _lost(rig), 60, flow.lane)
    flow.collection.delete_one({"_id": 1})
    wait_members(flow)


def _lost(rig: Rig) -> bool:
    return any("lost entries" in line.get("event", "") for line in rig.scene.daemon.logs(level="warning"))

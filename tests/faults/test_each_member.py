"""A document for each member that an application writes (nothing_lost, no_ghosts, applied_once, bounded), while the
daemon is killed."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import Rig, killed_at
from tests.support.check import wait_until
from tests.support.shapes.each_member import live_board, members, note, wait_members
from tests.support.ways.outbox import call, documents, outbox

GAMES, USERS = ("go", "chess", "shogi"), [f"u{number}" for number in range(30)]


@pytest.mark.at_scale("set")
@pytest.mark.parametrize("type", ["zset", "set"])
def test_kills_while_members_change(rig: Rig, type: str) -> None:
    """nothing_lost, no_ghosts, applied_once: members come, change, move from key to key and go, ranges of them and
    whole keys go, by functions and by MULTI, while the daemon is killed before MongoDB gets a write, before Redis
    learns of it, and before an entry is taken off; each time every document is as its member."""
    flow = live_board(rig.scene, "board", type=type)
    chance = random.Random(type)
    points = [
        lambda: rig.mongo_proxy.hold_request(flow.command("update")),
        lambda: rig.mongo_proxy.hold_reply(flow.command("delete")),
        lambda: rig.redis_proxy.hold_request(b"syncd_done_state"),
        lambda: rig.redis_proxy.hold_reply(b"syncd_done_state"),
    ]
    add, remove = ("zadd", "zrem") if type == "zset" else ("sadd", "srem")

    def change() -> None:
        game, some = chance.choice(GAMES), chance.sample(USERS, 4)
        match chance.randrange(8):
            case 0 | 1 | 2:
                scored = [part for user in some for part in (chance.randrange(99), user)]
                call(flow, add, game, *(scored if type == "zset" else some))
            case 3:
                call(flow, remove, game, *some)
            case 4:
                call(flow, "del", game)
            case 5 if type == "zset":
                call(flow, "zremrangebyrank", game, 0, 2)
            case 5:
                call(flow, "spop", game, 2)
            case _:
                with flow.redis.pipeline(transaction=True) as pipe:
                    for command in (f"{add} {flow.key(game)}", f"{remove} {flow.key(chance.choice(GAMES))}"):
                        score = [5] if command.startswith("zadd") else []
                        pipe.execute_command(*command.split(), *score, some[0])
                        pipe.xadd(outbox(flow), {"key": command.split()[1], "member": some[0]})
                    pipe.execute()

    for at, hold_at in enumerate(points):
        for _ in range(12):
            change()
        wait_members(flow)
        call(flow, remove, "go", *USERS[:3])
        call(flow, add, "go", *([1, "fresh"] if type == "zset" else ["fresh"]))
        wait_members(flow)
        hold = hold_at()
        for _ in range(12):
            change()
        call(flow, remove, "go", "fresh")
        call(flow, add, "shogi", *([2, f"new{at}"] if type == "zset" else [f"new{at}"]))
        with killed_at(rig, hold):
            pass
        wait_members(flow)
    assert not flow.dead_letters()


def test_a_member_that_comes_and_goes_behind_a_deletion(rig: Rig) -> None:
    """no_ghosts: a lane has read a member that came after its key was deleted, before it has read of the deletion; the
    member goes again, and one batch says all of that: its document goes too."""
    flow = live_board(rig.scene, "again")
    call(flow, "zadd", "go", 1, "ada")
    wait_members(flow)
    read = rig.redis_proxy.hold_request(b"syncd_read_state")
    call(flow, "zincrby", "go", 1, "ada")
    read.wait()
    call(flow, "zrem", "go", "ada")
    call(flow, "zadd", "go", 3, "ada", 4, "bob")
    done = rig.redis_proxy.hold_request(b"syncd_done_state")
    read.release()
    done.wait()
    call(flow, "zrem", "go", "ada")
    done.release()
    wait_members(flow)
    assert len(documents(flow)) == 1


def test_a_kill_in_the_middle_of_a_large_key(rig: Rig) -> None:
    """nothing_lost, no_ghosts, bounded: an entry that names a key of 6,000 members alone is worked off in pages, while
    the lane goes on to hold its lease; the daemon is killed between two pages, and at the end all members have their
    documents, and a key that is deleted has none."""
    flow = live_board(rig.scene, "large")
    flow.redis.zadd(flow.key("go"), {f"u{number}": number for number in range(6_000)})
    flow.redis.zadd(flow.key("chess"), {"u1": 1})
    hold = rig.redis_proxy.hold_request(b"syncd_done_state", nth=4)
    note(flow, "go")
    note(flow, "chess", "u1")
    with killed_at(rig, hold):
        assert 0 < len(documents(flow)) < 6_000
        assert flow.redis.xlen(outbox(flow)) == 2
    wait_members(flow)
    assert len(members(flow)) == 6_001
    flow.redis.zremrangebyrank(flow.key("go"), 0, 4_000)
    note(flow, "go")
    wait_members(flow)
    call(flow, "del", "go")
    wait_until(lambda: len(documents(flow)) == 1, 60, flow.lane)
    wait_members(flow)

"""The rights that the documentation names are enough."""

from __future__ import annotations

import re
from pathlib import Path

from syncd.embedded import RedisServer
from syncd.outbox import Outbox
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.digests import wait_known as wait_digests
from tests.support.keyspace import add_keyspace, wait_known, write
from tests.support.outbox import add_outbox, documents, outbox, put, wait_functions
from tests.support.reconcile import check
from tests.support.scene import Scene
from tests.support.servers import connect
from tests.support.twoway import add_two_way, conflicts, hset, remove_key

ROOT = Path(__file__).parents[2]


def test_the_documented_rights_in_redis(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A user with the commands of docs/how-to/rights.md, and keys of its own, can do all that a daemon does, checks
    with repairs, and a contract that is split, too."""
    commands = documented("rights.md")
    with RedisServer() as server:
        user = server.url.replace("redis://", "redis://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=user) as scene:
            keys = [f"~{token}:*", "~syncd:*", f"~{token}-films", f"~{token}-films:*"]
            scene.redis.execute_command(
                "ACL SETUSER", "syncd", "on", ">secret", "resetkeys", *keys, *commands
            )
            slug = projection({"year": {"from": "year", "type": "int"}}, name="slug", key="{slug}", ttl="1h")
            index = {"name": f"{token}-films", "fields": [{"name": "title", "type": "tag"}]}
            card = projection(["title"], type="json", index=index)
            checks = {"every": "1s", "mode": "repair"}
            flow = scene.add("film", card, slug, unique=[["slug"]], documents=films(50), reconcile=checks)
            known = scene.add(
                "known", projection(["title"]), documents=films(50), reconcile={"check": "digest"}
            )
            for partition in ("1/1", "1/2"):
                daemon = scene.another_daemon(SYNCD_PARTITION=partition)
                daemon.start()
                daemon.wait_ready()
                flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}})
                flow.collection.update_one({"_id": 2}, {"$set": {"year": "not a number"}})
                flow.collection.delete_one({"_id": 3})
                wait_until(
                    lambda: flow.dead_letters() and not flow.redis.exists(flow.key(3)), 20, flow.dead_letters
                )
                if partition == "1/1":
                    known.collection.update_one({"_id": 1}, {"$set": {"title": "new"}})
                    wait_digests(known, server.url)
                    flow.redis.delete(flow.key(4))
                    wait_until(lambda: flow.redis.exists(flow.key(4)), 20, daemon.process.log_tail)
                    wait_until(lambda: flow.redis.exists(flow.names.control("reports")), 20)
                assert not daemon.logs(level="error")
                assert daemon.terminate() == 0


def films(count: int) -> list[dict[str, object]]:
    return [{"_id": n, "slug": f"s{n}", "title": f"film {n}", "year": n} for n in range(count)]


def test_the_documented_rights_for_an_outbox(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands of docs/how-to/rights.md and of outbox.md, and an application with its own, on the
    keys of the contract alone, can do all that they do; without functions what is noted in MULTI arrives."""
    commands = documented("rights.md") + documented("outbox.md")
    with RedisServer() as server:
        user = server.url.replace("redis://", "redis://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=user) as scene:
            keys = [f"~{token}:*", "~syncd:*"]
            rights = ["on", ">secret", "resetkeys", *keys, *commands]
            scene.redis.execute_command("ACL", "SETUSER", "syncd", *rights)
            flow = add_outbox(scene, "kept", sync={"outbox_max": 1000})
            scene.start()
            flow.wait_live()
            wait_functions(flow)
            own = [f"~{flow.key('*')}", f"~{outbox(flow)}*", "-@all", "+fcall", "+hset", "+del"]
            scene.redis.execute_command(
                "ACL", "SETUSER", "app", "on", ">secret", *own, "+exists", "+get", "+xlen", "+xadd"
            )
            with connect(server.url.replace("redis://", "redis://app:secret@")) as application:
                box = Outbox(application, flow.contract)
                box.hset(flow.key(1), mapping={"n": 1})
                box.hset(flow.key(2), mapping={"n": "none"})
                wait_until(lambda: flow.dead_letters() and 1 in documents(flow), 20, flow.lane)
                box.delete(flow.key(1))
                wait_until(lambda: not documents(flow), 20, flow.lane)
            scene.redis.xadd(outbox(flow), {"key": "of:somebody"})
            scene.redis.hset(flow.key(3), "n", 3)
            scene.redis.rpush(flow.names.control("requests"), "snapshot")
            wait_until(lambda: 3 in documents(flow) and len(flow.dead_letters()) == 2, 20, flow.lane)
            assert not scene.daemon.logs(level="error")
            scene.daemon.terminate()
            scene.redis.execute_command("ACL", "SETUSER", "syncd", "-function", "-fcall", "-fcall_ro")
            scene.start()
            put(flow, [4], 4)
            wait_until(lambda: 4 in documents(flow), 20, flow.lane)
            assert scene.daemon.logs(level="warning", contract=flow.contract)
            flow.collection.delete_one({"_id": 4})
            assert check(scene, flow, mongo_uri, user, repair=True).repaired == 1


def test_the_documented_rights_for_keyspace_events(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands and channels of docs/how-to/keyspace.md, beside those of the other two pages, listens,
    compares and judges what is gone; without CONFIG it works where somebody else has set the option."""
    commands = documented("rights.md") + documented("outbox.md") + documented("keyspace.md")
    with RedisServer() as server:
        user = server.url.replace("redis://", "redis://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=user) as scene:
            keys = [f"~{token}:*", "~syncd:*"]
            rights = ["on", ">secret", "resetkeys", *keys, "resetchannels", *commands]
            scene.redis.execute_command("ACL", "SETUSER", "syncd", *rights)
            flow = add_keyspace(scene, "kept", sync={"on_expire": "delete"})
            scene.start()
            wait_until(lambda: "grant &__keyspace@0__" in flow.lane().get("error", ""), 20, flow.lane)
            scene.daemon.kill()
            channels = [f"&__keyspace@0__:{flow.key('*')}", "&__keyspace@0__:syncd:*"]
            scene.redis.execute_command("ACL", "SETUSER", "syncd", *channels)
            scene.start()
            flow.wait_live()
            write(flow, [1, 2, 3], 1)
            wait_known(flow, [1, 2, 3])
            scene.redis.hset(flow.key(4), "n", "none")
            wait_until(lambda: len(flow.dead_letters()) == 1, 20, flow.lane)
            scene.daemon.kill()
            scene.redis.delete(flow.key(1))
            scene.redis.execute_command("ACL", "SETUSER", "syncd", "-config")
            scene.start()
            wait_until(lambda: documents(flow).keys() == {2, 3}, 20, flow.lane)
            write(flow, [2], 2)
            wait_until(lambda: documents(flow)[2]["n"] == 2, 20, flow.lane)
            flow.collection.delete_one({"_id": 2})
            assert check(scene, flow, mongo_uri, user, repair=True).repaired == 1
            assert len(scene.daemon.logs(level="error")) == 1


def test_the_documented_rights_both_ways(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands of rights.md, outbox.md and two-way.md, on the keys of the contract, does all that
    a contract both ways needs; also where functions are forbidden."""
    commands = documented("rights.md") + documented("outbox.md") + documented("two-way.md")
    with RedisServer() as server:
        user = server.url.replace("redis://", "redis://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=user) as scene:
            rights = ["on", ">secret", "resetkeys", f"~{token}:*", "~syncd:*", *commands]
            scene.redis.execute_command("ACL", "SETUSER", "syncd", *rights)
            film = {"_id": 1, "n": 1, "a": "x"}
            flow = add_two_way(
                scene, "both", "outbox", sync={"authority": {"mongo": ["a"]}}, documents=[film]
            )
            for turn, forbidden in enumerate(([], ["-function", "-fcall", "-fcall_ro"])):
                scene.redis.execute_command("ACL", "SETUSER", "syncd", *forbidden)
                scene.start()
                flow.wait_live()
                hset(flow, 1, a="mine", c=f"redis {turn}")
                hset(flow, 2, n="none")
                flow.collection.update_one({"_id": 1}, {"$set": {"in.b": f"mongo {turn}"}})
                merged = {"n": "1", "a": "x", "b": f"mongo {turn}", "c": f"redis {turn}"}
                flow.wait_hash(1, merged)
                wait_until(lambda: flow.dead_letters() and len(conflicts(flow)) > 0, 20, flow.lane)
                remove_key(flow, 2)
                remove_key(flow, 1)
                wait_until(lambda: not documents(flow), 20, flow.lane)
                flow.collection.insert_one(film)
                flow.wait_hash(1, {"n": "1", "a": "x"})
                scene.redis.hset(flow.key(1), "c", "without a note")
                assert check(scene, flow, mongo_uri, user, repair=True).repaired == 1
                assert not scene.daemon.logs(level="error")
                scene.daemon.terminate()


def documented(page: str) -> list[str]:
    """The commands of the one ACL SETUSER of a page, as a user's rules."""
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    said = re.search(r"^ACL SETUSER syncd (.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert said is not None
    return [word for word in said[1].split() if word[0] in "+-"]

"""The rights that the documentation names are enough."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syncd.embedded import RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.outbox import Outbox
from syncd.stores.redis.cluster.slots import slot_of
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Scene
from tests.support.servers.cluster import move, slots_of
from tests.support.servers.shared import connect
from tests.support.shapes.digests import wait_known as wait_digests
from tests.support.shapes.feeds import feed, stream_of, wait_count
from tests.support.shapes.members import (
    BOARD,
    NEAR,
    RECALL,
    TAGS,
    members_of,
    player,
    wait_best,
    wait_members,
)
from tests.support.ways.keyspace import add_keyspace, wait_known, write
from tests.support.ways.outbox import add_outbox, documents, outbox, put, wait_functions
from tests.support.ways.reconcile import check
from tests.support.ways.stream import add_series, add_stream, append, append_timed, wait_numbers
from tests.support.ways.twoway import add_two_way, conflicts, hset, remove_key

ROOT = Path(__file__).parents[2]


HARMFUL = (
    "CONFIG GET masterauth", "CONFIG SET maxmemory 1", "FUNCTION FLUSH", "FUNCTION DELETE app", "FUNCTION RESTORE x",
    "FUNCTION KILL", "SCRIPT FLUSH", "SCRIPT KILL", "CLIENT PAUSE 1000", "CLIENT KILL 127.0.0.1:1",
    "CLIENT NO-EVICT on", "CLIENT LIST", "FLUSHALL",
    "FLUSHDB", "KEYS *", "ACL LIST", "ACL SETUSER x", "SHUTDOWN", "DEBUG SLEEP 1", "MONITOR",
    "REPLICAOF no one", "SAVE", "SWAPDB 0 1", "DUMP films", "MIGRATE h 1 films 0 1", "EVAL x 0", "SORT films",
    "OBJECT IDLETIME films",
)  # fmt: skip
OPTIONAL = {"client|setinfo", "config|get"}
"""The driver asks for the first and goes on without it; the second is not needed."""


@contextmanager
def narrow(
    folder: Path, token: str, mongo_uri: str, *pages: str, keys: Sequence[str] = (), asked: Sequence[str] = ()
) -> Iterator[Scene]:
    """A scene whose daemon is the user `syncd` of a Redis of its own, with the rights of these pages: no harm.

    At the end: nothing was asked for that they do not give, but what the test expects to be `asked` for in vain.
    """
    rights = [word for page in pages for word in documented(page)]
    own = [f"~{token}:*", "~syncd:*", *keys, "resetchannels"]
    with (
        RedisServer() as server,
        Scene(folder, token, mongo_uri, server.url, daemon_redis=user_of(server)) as scene,
    ):
        scene.redis.execute_command("ACL", "SETUSER", "syncd", "on", ">secret", "resetkeys", *own, *rights)
        assert harmful(scene) == []
        yield scene
        assert denied(scene) <= OPTIONAL | set(asked)


def user_of(server: RedisServer, name: str = "syncd") -> str:
    return server.url.replace("redis://", f"redis://{name}:secret@")


def harmful(scene: Scene) -> list[str]:
    said = {line: scene.redis.execute_command("ACL", "DRYRUN", "syncd", *line.split()) for line in HARMFUL}
    return [line for line, answer in said.items() if answer in ("OK", b"OK")]


def denied(scene: Scene) -> set[str]:
    log = scene.redis.execute_command("ACL", "LOG")
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in log]
    return {entry[b"object"].decode() for entry in entries}


def test_the_documented_rights_in_redis(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A user with the commands of docs/how-to/rights.md, and keys of its own, can do all that a daemon does, checks
    with repairs, and a contract that is split, too."""
    with narrow(
        tmp_path, token, mongo_uri, "rights.md", keys=[f"~{token}-films", f"~{token}-films:*"]
    ) as scene:
        slug = projection({"year": {"from": "year", "type": "int"}}, name="slug", key="{slug}", ttl="1h")
        index = {"name": f"{token}-films", "fields": [{"name": "title", "type": "tag"}]}
        card = projection(["title"], type="json", index=index)
        checks = {"every": "1s", "mode": "repair"}
        flow = scene.add("film", card, slug, unique=[["slug"]], documents=films(50), reconcile=checks)
        part = projection(
            {"title": "title", "n": "parts.n"}, name="part", each="parts", key="{_id}:{parts.n}"
        )
        parts = scene.add("parts", part, documents=films(50), reconcile=checks)
        own = [
            projection(name=type, type=type, value={"expr": said})
            for type, said in (
                ("list", "[title]"),
                ("set", "[title]"),
                ("zset", "[{member: title, score: year}]"),
            )
        ]
        field = {"from": "title", "ttl": {"field": "until"}}
        own.append(projection({"title": field}, name="expiring"))
        own.append(projection({"title": field, "year": "year"}, name="shared", share=True))
        members = scene.add("league", BOARD, TAGS, NEAR, RECALL, documents=[player(n) for n in range(50)],
                            reconcile=checks)  # fmt: skip
        soon = datetime.now(UTC) + timedelta(seconds=5)
        best = scene.add("best", {**BOARD, "keep": {"highest": 9}}, documents=[player(n) for n in range(50)])
        until = scene.add("until", {**TAGS, "expire": {"field": "until"}}, documents=[player(1, until=soon)])
        arrays = scene.add("arrays", *own, documents=films(50), reconcile=checks)
        known = scene.add("known", projection(["title"]), documents=films(50), reconcile={"check": "digest"})
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
                wait_digests(known, scene.reach["redis_url"])
                flow.redis.delete(flow.key(4))
                parts.collection.update_one({"_id": 1}, {"$pop": {"parts": 1}, "$set": {"title": "new"}})
                flow.redis.delete(arrays.key(4, "zset"), parts.key("4:1", "part"))
                for name in ("board", "tags", "near", "recall"):
                    scene.redis.delete(members.key("a" if name == "tags" else "chess", name))
                members.collection.update_many({"_id": {"$lt": 5}}, {"$set": {"game": "go", "tags": []}})
                members.collection.delete_one({"_id": 6})
                wait_members(members)
                best.collection.delete_many({"_id": {"$gt": 45}})
                wait_best(best)
                wait_until(lambda: not members_of(until, "tags"), 60)
                wait_until(
                    lambda: (
                        flow.redis.exists(flow.key(4), arrays.key(4, "zset"), parts.key("4:1", "part")) == 3
                    ),
                    20,
                    daemon.process.log_tail,
                )
                wait_until(lambda: flow.redis.exists(flow.names.control("reports")), 20)
            assert not daemon.logs(level="error")
            assert daemon.terminate() == 0


def test_the_documented_rights_for_a_change_feed(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """The same user can write entries, trim the stream, and follow an entry that another client wrote."""
    with narrow(tmp_path, token, mongo_uri, "rights.md") as scene:
        flow = scene.run("film", feed(["title"], keep={"entries": 10}))
        flow.collection.insert_many(films(5))
        wait_count(flow, 5)
        flow.redis.xadd(stream_of(flow), {"a": "b"}, id="99999999999999-1")
        flow.collection.insert_one({"_id": "last", "title": "x"})
        wait_count(flow, 7)
        named = scene.run("named", feed(["title"]), filter={"title": {"$gt": ""}}, documents=films(5))
        named.collection.update_many({}, {"$unset": {"title": ""}})
        wait_count(named, 5)
        named.write(feed(["title"]), filter={"_id": {"$gt": 2}})
        wait_count(named, 7)
        assert not scene.daemon.logs(level="error")


def films(count: int) -> list[dict[str, object]]:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    return [
        {
            "_id": n,
            "slug": f"s{n}",
            "title": f"film {n}",
            "year": n,
            "until": until,
            "parts": [{"n": 0}, {"n": 1}],
        }
        for n in range(count)
    ]


def test_the_documented_rights_for_a_handover(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """They are enough to take templates and their maps over from another contract, and to remove what one left."""
    with narrow(tmp_path, token, mongo_uri, "rights.md") as scene:
        slug = projection(["title"], name="slug", key="{slug}")
        giver = scene.add("giver", projection(["title"]), slug, unique=[["slug"]], documents=films(20))
        scene.start()
        giver.wait_live()
        scene.daemon.terminate()
        giver.write(projection(["title"]), unique=[["slug"]])
        taker = scene.add("taker", slug, source=giver, unique=[["slug"]])
        text = scene.contracts.file("taker").read_text()
        scene.contracts.write_text("taker", text.replace(":taker:slug:", ":giver:slug:"))
        scene.start()
        taker.wait_live()
        giver.collection.update_one({"_id": 1}, {"$set": {"slug": "moved"}})
        wait_until(lambda: giver.redis.exists(giver.key("moved", "slug")), 20, taker.lane)
        assert not giver.redis.exists(giver.key("s1", "slug"))
        scene.contracts.remove("taker")
        env = {"SYNCD_REDIS_URL": scene.reach["redis_url"]}
        wait_until(lambda: syncd("remove", taker.contract, "--keys", "--yes", **env).returncode == 0)
        assert giver.keys("slug") == set()
        assert not scene.daemon.logs(level="error")


def test_the_documented_rights_for_a_standby_and_for_the_commands(
    token: str, mongo_uri: str, tmp_path: Path
) -> None:
    """The same user, asked for nothing beside: a standby knows whether a daemon serves, and every command answers."""
    with narrow(tmp_path, token, mongo_uri, "rights.md") as scene:
        scene.redis.hset(f"{token}:film:card:foreign", "title", "somebody's")
        flow = scene.add("film", projection(["title"]), documents=films(20))
        gone = scene.add("gone", projection(["title"]), documents=films(20))
        scene.start()
        flow.wait_live()
        gone.wait_live()
        other = scene.another_daemon()
        other.start()
        other.wait_ready()
        assert {lane["state"] for lane in other.status()["lanes"]} == {"standby"}
        other.terminate()
        scene.contracts.remove("gone")
        env = {
            "SYNCD_REDIS_URL": scene.reach["redis_url"],
            "SYNCD_MONGO_URI": mongo_uri,
            "SYNCD_CONTRACTS": str(scene.contracts.path),
            "SYNCD_HTTP": scene.daemon.url.removeprefix("http://"),
        }
        wait_until(lambda: gone.contract in syncd("status", "--orphans", **env).stdout, 20)
        for words in (
            ("status",), ("check", "--connect"), ("doctor",), ("snapshot", flow.contract),
            ("reconcile", flow.contract, "--repair"), ("reconcile", flow.contract, "--history"),
            ("deadletters", "list", flow.contract), ("deadletters", "replay", flow.contract, "--all"),
            ("remove", gone.contract, "--keys", "--yes"),
        ):  # fmt: skip
            said = syncd(*words, **env)
            assert said.returncode in (0, 1), (words, said.stdout, said.stderr)


@pytest.mark.parametrize("series", [False, True], ids=["collection", "time series"])
def test_the_documented_rights_to_append(token: str, mongo_uri: str, tmp_path: Path, series: bool) -> None:
    """A daemon with the commands of rights.md and append.md moves entries, and those that were pending when it died,
    and dead letters."""
    with narrow(tmp_path, token, mongo_uri, "rights.md", "append.md") as scene:
        add, write = (add_series, append_timed) if series else (add_stream, append)
        flow = add(scene, "events")
        scene.start()
        flow.wait_live()
        write(flow, range(50))
        wait_numbers(flow, range(50))
        scene.daemon.kill()
        write(flow, range(50, 60))
        scene.start()
        append(flow, [60], n="no number", at="no time")
        wait_numbers(flow, range(60))
        wait_until(lambda: len(flow.dead_letters()) == 1, 20, flow.lane)
        assert not scene.daemon.logs(level="error")


def test_the_documented_rights_for_an_outbox(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands of docs/how-to/rights.md and of outbox.md, and an application with its own, on the
    keys of the contract alone, can do all that they do; without functions what is noted in MULTI arrives."""
    asked = ["function|list", "function|load"]
    with narrow(tmp_path, token, mongo_uri, "rights.md", "outbox.md", asked=asked) as scene:
        flow = add_outbox(scene, "kept", sync={"outbox_max": 1000})
        scene.start()
        flow.wait_live()
        wait_functions(flow)
        own = [f"~{flow.key('*')}", f"~{outbox(flow)}*", "-@all", "+fcall", "+hset", "+del"]
        scene.redis.execute_command(
            "ACL", "SETUSER", "app", "on", ">secret", *own, "+exists", "+get", "+xlen", "+xadd"
        )
        with connect(scene.reach["redis_url"].replace("syncd:", "app:")) as application:
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
        assert denied(scene) <= OPTIONAL
        scene.redis.execute_command("ACL", "SETUSER", "syncd", "-function", "-fcall", "-fcall_ro")
        scene.start()
        put(flow, [4], 4)
        wait_until(lambda: 4 in documents(flow), 20, flow.lane)
        assert scene.daemon.logs(level="warning", contract=flow.contract)
        flow.collection.delete_one({"_id": 4})
        assert check(scene, flow, mongo_uri, scene.reach["redis_url"], repair=True).repaired == 1


def test_the_documented_rights_for_keyspace_events(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands and channels of docs/how-to/keyspace.md, beside those of the other two pages, listens,
    compares and judges what is gone, where a person has set the option; or it sets the option itself, where it
    has the two rights that the page names for that."""
    pages = "rights.md", "outbox.md", "keyspace.md"
    with narrow(tmp_path, token, mongo_uri, *pages, asked=["__keyspace@0__:*"]) as scene:
        flow = add_keyspace(scene, "kept", sync={"on_expire": "delete"})
        scene.redis.execute_command("ACL", "SETUSER", "syncd", "+config|get", "+config|set")
        scene.start()
        wait_until(lambda: "grant &__keyspace@0__" in flow.lane().get("error", ""), 20, flow.lane)
        scene.daemon.kill()
        scene.redis.execute_command("ACL", "LOG", "RESET")
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
        assert check(scene, flow, mongo_uri, scene.reach["redis_url"], repair=True).repaired == 1
        assert len(scene.daemon.logs(level="error")) == 1


def test_the_documented_rights_in_a_cluster(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """A daemon with the commands, keys and channels that the pages of rights, keyspace events and clusters name listens
    to all nodes, brings what it remembers to where slots are now, finds deletions, and repairs."""
    pages = "rights.md", "outbox.md", "keyspace.md", "cluster.md"
    rights = [word for page in pages for word in documented(page)]
    with RedisCluster(3, modules=True) as cluster:
        url = cluster.url.replace("://", "://syncd:secret@")
        with Scene(tmp_path, token, mongo_uri, cluster.url, daemon_redis=url) as scene:
            flow = add_keyspace(scene, "kept", sync={"on_expire": "delete"})
            mine = scene.add("film", projection(["title"]), documents=films(50))
            own = [f"~{token}:*", "~{*}syncd:*", "resetchannels", "&__keyspace@0__:{*}syncd:*"]
            own += [f"&__keyspace@0__:{flow.key('*')}", *rights]
            for node in cluster.nodes:
                cluster.tell(node, "CONFIG", "SET", "notify-keyspace-events", "Kg$lshzxed")
                cluster.tell(node, "ACL", "SETUSER", "syncd", "on", ">secret", "resetkeys", *own)
            scene.start()
            flow.wait_live()
            mine.wait_live()
            for end in range(60):
                scene.redis.hset(flow.key(end), mapping={"n": 1, "text": "one"})
            wait_until(lambda: len(documents(flow)) == 60, 20, flow.lane)
            scene.daemon.kill()
            first, second, _ = cluster.nodes
            held = set(slots_of(cluster, first))
            move(cluster, {slot_of(flow.key(n)) for n in range(60)} & held, first, second)
            scene.redis.delete(flow.key(1)), scene.redis.delete(flow.key(2))
            scene.start()
            wait_until(lambda: documents(flow).keys() == {0, *range(3, 60)}, 20, flow.lane)
            flow.collection.delete_one({"_id": 3})
            assert check(scene, flow, mongo_uri, url, repair=True).repaired == 1
            mine.wait_same()
            assert [denied_on(cluster, node) - OPTIONAL for node in cluster.nodes] == [set()] * 3


def denied_on(cluster: RedisCluster, node: RedisServer) -> set[str]:
    return {entry[b"object"].decode() for entry in cluster.tell(node, "ACL", "LOG")}


@pytest.mark.parametrize("capture", ["outbox", "keyspace"])
def test_the_documented_rights_both_ways(token: str, mongo_uri: str, tmp_path: Path, capture: str) -> None:
    """A daemon with the commands of rights.md, outbox.md and two-way.md, and keyspace.md where it listens, on the keys
    of the contract, does all that a contract both ways needs; also where functions are forbidden."""
    pages = ["rights.md", "outbox.md", "two-way.md", *(["keyspace.md"] if capture == "keyspace" else [])]
    functions = ["function|list", "function|load"]
    with narrow(tmp_path, token, mongo_uri, *pages, asked=functions) as scene:
        film = {"_id": 1, "n": 1, "a": "x"}
        flow = add_two_way(scene, "both", capture, sync={"authority": {"mongo": ["a"]}}, documents=[film])
        channels = [f"&__keyspace@0__:{flow.key('*')}", "&__keyspace@0__:syncd:*"]
        scene.redis.execute_command("ACL", "SETUSER", "syncd", *channels)
        scene.redis.config_set("notify-keyspace-events", "Kg$lshzxed")
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
            if capture == "outbox":

                def repaired() -> bool:
                    # A late change of MongoDB's may have syncd read the key before the check does.
                    scene.redis.hset(flow.key(1), "c", f"without a note {time.monotonic()}")
                    return check(scene, flow, mongo_uri, scene.reach["redis_url"], repair=True).repaired == 1

                wait_until(repaired, 20, flow.lane)
            assert not scene.daemon.logs(level="error")
            scene.daemon.terminate()
            assert turn or denied(scene) <= OPTIONAL


def documented(page: str) -> list[str]:
    """The commands of the one ACL SETUSER of a page, as a user's rules."""
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    said = re.search(r"^ACL SETUSER syncd (.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if said is None:
        (line,) = re.findall(r"In Redis, on\s+the stream:\s(.*?)beside", text, re.DOTALL)
        return re.findall(r"\+[a-z|]+", line)
    return [word for word in said[1].split() if word[0] in "+-"]

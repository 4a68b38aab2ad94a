"""What the bundled servers are, and that they live and die as asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_driver
from pymongo import MongoClient

from syncd.embedded import ChildProcess, RedisServer, ReplicaSet
from syncd.errors import PlatformError
from tests.support.check import PATIENCE_S, wait_until
from tests.support.servers.shared import connect

Mongo = MongoClient[dict[str, Any]]
ROOT = Path(__file__).parents[2]


def test_the_shared_replica_set_is_primary_and_writable(mongo: Mongo, database: str) -> None:
    """A set of one takes majority writes and knows its name."""
    hello = mongo.admin.command("hello")
    assert hello["isWritablePrimary"]
    assert hello["setName"] == "rs"
    assert mongo[database].things.insert_one({"_id": 1}).acknowledged


def test_a_change_stream_opens_and_delivers(mongo: Mongo, database: str) -> None:
    """Change streams work, which a mongod outside a replica set refuses."""
    things = mongo[database].things
    with things.watch(max_await_time_ms=2000) as stream:
        things.insert_one({"_id": 1})
        change = stream.next()
    assert (change["operationType"], change["documentKey"]) == ("insert", {"_id": 1})


def test_test_commands_are_on(mongo: Mongo) -> None:
    """Tests may set fail points on the shared replica set."""
    off = mongo.admin.command(
        "configureFailPoint", "failCommand", mode="off", data={"failCommands": ["ping"]}
    )
    assert off["ok"] == 1


def test_redis_has_search_and_json(redis: redis_driver.Redis, prefix: str) -> None:
    """Redis 8.2 with both modules; an index over JSON documents answers."""
    assert redis.info("server")["redis_version"].startswith("8.2.")
    assert {module[b"name"] for module in redis.module_list()} >= {b"search", b"ReJSON"}
    index = f"{prefix}index"
    create = [
        "FT.CREATE",
        index,
        "ON",
        "JSON",
        "PREFIX",
        1,
        prefix,
        "SCHEMA",
        "$.title",
        "AS",
        "title",
        "TEXT",
    ]
    redis.execute_command(*create)
    redis.execute_command("JSON.SET", f"{prefix}1", "$", '{"title": "Metropolis"}')
    found = wait_until(
        lambda: (reply := redis.execute_command("FT.SEARCH", index, "metropolis"))[0] and reply
    )
    assert found[1] == f"{prefix}1".encode()


def test_valkey_has_functions_and_no_json(valkey_url: str, prefix: str) -> None:
    """The server on which syncd must say what it cannot do."""
    with connect(valkey_url) as valkey:
        assert valkey.info("server")["server_name"] == "valkey"
        assert isinstance(valkey.function_list(), list)
        with pytest.raises(redis_driver.ResponseError, match="unknown command"):
            valkey.execute_command("JSON.SET", f"{prefix}1", "$", "{}")


def test_the_oldest_redis_is_7_0(redis70_url: str) -> None:
    """It has functions, and no modules."""
    with connect(redis70_url) as old:
        assert old.info("server")["redis_version"].startswith("7.0.")
        assert isinstance(old.function_list(), list)
        assert old.module_list() == []


def test_a_test_leaves_nothing_behind(servers: Any, redis: redis_driver.Redis, mongo: Mongo) -> None:
    """Database, keys, contract state and index of a test are gone after it; those of others stay."""
    for word in ("tgone", "tstays"):
        mongo[word].things.insert_one({"_id": 1})
        redis.hset(f"{word}:1", "name", "x")
        redis.set(f"syncd:{{{word}-movies}}:position", "x")
        redis.execute_command("FT.CREATE", f"{word}-index", "ON", "HASH", "SCHEMA", "name", "TAG")
    servers.forget("tgone")
    assert redis.keys("*tgone*") == []
    assert "tgone" not in mongo.list_database_names()
    assert sorted(redis.keys("*tstays*")) == [b"syncd:{tstays-movies}:position", b"tstays:1"]
    assert b"tstays-index" in redis.execute_command("FT._LIST")
    servers.forget("tstays")


def test_mongod_keeps_acknowledged_writes_through_kill_9() -> None:
    """Same port, same data, primary again, and the client that was connected goes on."""
    with ReplicaSet() as replica_set, Mongo(replica_set.uri) as client:
        client.shop.things.insert_one({"_id": 1})
        port = replica_set.members[0].port
        replica_set.members[0].kill()
        assert not replica_set.members[0].alive
        replica_set.start()
        assert replica_set.members[0].port == port
        assert client.shop.things.find_one() == {"_id": 1}


def test_a_set_of_one_steps_down_and_comes_back() -> None:
    """An election without a second member: writes fail for about a second, then go on."""
    with ReplicaSet() as replica_set, Mongo(replica_set.uri) as client:
        term = client.admin.command("replSetGetStatus")["term"]
        assert replica_set.step_down() is replica_set.members[0]
        assert client.admin.command("replSetGetStatus")["term"] > term


def test_data_in_a_given_directory_is_found_again(tmp_path: Path) -> None:
    """Although the second set listens on another port, which its stored configuration does not know."""
    for expected in (0, 1):
        with ReplicaSet(directory=tmp_path) as replica_set, Mongo(replica_set.uri) as client:
            assert client.shop.things.count_documents({}) == expected
            client.shop.things.insert_one({"_id": expected})


@pytest.mark.at_scale
def test_three_members_elect() -> None:
    """Whether the primary steps down, freezes or is killed."""
    with ReplicaSet(3) as replica_set:
        first = replica_set.wait_for_primary()
        assert replica_set.step_down() is not first
        frozen = replica_set.wait_for_primary()
        frozen.pause()
        replica_set.wait_for_primary(PATIENCE_S, other_than=frozen)
        frozen.resume()
        replica_set.start()
        killed = replica_set.wait_for_primary()
        killed.kill()
        replica_set.wait_for_primary(PATIENCE_S, other_than=killed)


def test_redis_with_appendonly_keeps_acknowledged_writes_through_kill_9() -> None:
    """Same port, same data; without appendonly it comes back empty."""
    for appendonly, expected in ((True, b"1"), (False, None)):
        with RedisServer(modules=False, appendonly=appendonly) as server, connect(server.url) as client:
            client.set("key", "1")
            server.kill()
            server.start()
            with connect(server.url) as again:
                assert again.get("key") == expected


def test_redis_keeps_acknowledged_writes_behind_a_torn_transaction() -> None:
    """A kill in the middle of a write to its file, then writes that are acknowledged, then another kill."""
    with RedisServer(modules=False, appendonly=True) as server:
        server.kill()
        (file,) = server.directory.glob("appendonlydir/*.incr.aof")
        with file.open("ab") as written:
            written.write(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$1\r\n1\r\n*3\r\n$3\r\nSE")
        server.start()
        with connect(server.url) as client:
            client.set("key", "1")
        server.kill()
        server.start()
        with connect(server.url) as client:
            assert client.get("key") == b"1"
            assert client.get("torn") is None


def test_a_frozen_redis_accepts_connections_and_answers_nothing() -> None:
    """And a frozen server can still be stopped gracefully."""
    with RedisServer(modules=False) as server:
        server.pause()
        assert not server.answers()
        server.resume()
        assert server.answers()
        server.pause()
        assert server.stop() == 0


def test_a_server_that_does_not_come_up_says_why() -> None:
    """The error carries the end of the server's log, and nothing runs afterwards."""
    server = RedisServer(modules=False, config={"maxmemory": "nonsense"})
    with pytest.raises(PlatformError, match=r"exit code 1(?s:.*)nonsense"), server:
        pass
    assert not server.alive
    assert not server.directory.exists()


def test_a_server_may_be_started_from_a_thread_that_ends(tmp_path: Path) -> None:
    """The signal that ends a child with its parent is bound to a thread; it must not be a short-lived one."""
    with RedisServer(modules=False, directory=tmp_path) as server:
        server.stop()
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
        time.sleep(0.2)
        assert server.alive


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and cannot clean up."""
    parent_code = (
        "from pathlib import Path; from syncd.embedded import RedisServer; import time\n"
        f"server = RedisServer(modules=False, directory=Path({str(tmp_path)!r})); server.start()\n"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_ctrl_c_does_not_reach_the_servers() -> None:
    """They are in a session of their own: we stop them in order, the terminal does not."""
    with RedisServer(modules=False) as server:
        assert psutil.Process(server.pid).terminal() is None
        assert psutil.Process(server.pid).ppid() == psutil.Process().pid


def test_a_program_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    """With the path in it."""
    child = ChildProcess([tmp_path / "absent"], log=tmp_path / "log", answers=lambda: False)
    with pytest.raises(PlatformError, match="/absent: No such file or directory"):
        child.start()

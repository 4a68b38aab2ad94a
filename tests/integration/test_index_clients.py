"""What clients do to indexes: create one where an alias is, drop one with its keys, keep one that they have opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redisvl.index import SearchIndex
from redisvl.query import FilterQuery

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

COUNT = 40
FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}", "year": 1900 + n} for n in range(COUNT)]
TITLE = {"name": "title", "type": "text"}
YEAR = {"name": "year", "type": "numeric"}


def indexed(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"name": name, "fields": list(fields or (TITLE,)), **more}
    return projection(["title", "year"], index=said)


def found(flow: Flow, name: str, query: str = "*") -> int:
    return int(flow.redis.execute_command("FT.SEARCH", name, query, "LIMIT", 0, 0)[0])


def real(flow: Flow, name: str) -> str:
    return str(flow.redis.execute_command("FT.INFO", name)[1].decode())


def names(flow: Flow, name: str) -> set[str]:
    return {one.decode() for one in flow.redis.execute_command("FT._LIST") if name.encode() in one}


def told(flow: Flow, name: str) -> dict[str, Any]:
    """What /status says of an index."""
    return next((one for one in flow.lane().get("indexes", []) if one["index"] == name), {})


def wait(flow: Flow, condition: Callable[[], object]) -> None:
    wait_until(condition, 20, flow.lane)


def client(flow: Flow, name: str, *fields: dict[str, Any], prefix: str | None = None) -> SearchIndex:
    """A client that brings its own schema, as quick starts do."""
    index = {"name": name, "prefix": prefix or flow.key("").rstrip(":"), "storage_type": "hash"}
    return SearchIndex.from_dict(
        {"index": index, "fields": list(fields or (TITLE,))}, redis_client=flow.redis
    )


def doctor(shared: Scene) -> str:
    servers = {"SYNCD_MONGO_URI": shared.reach["mongo_uri"], "SYNCD_REDIS_URL": shared.reach["redis_url"]}
    return syncd("doctor", shared.contracts.path, **servers).stdout


def begin(shared: Scene, short: str, *fields: dict[str, Any], **more: Any) -> tuple[Flow, str]:
    name = f"{shared.token}-{short}"
    flow = shared.run(short, indexed(name, *fields, **more), documents=FILMS)
    wait(
        flow,
        lambda: (
            found(flow, name) == COUNT == told(flow, name)["documents"]
            and told(flow, name)["state"] == "complete"
        ),
    )
    return flow, name


def test_a_client_creates_an_index_where_the_alias_is(shared: Scene) -> None:
    """nothing_silent: within one check it is reported, with the name and the remedy, in status, log, metric and
    readiness, and by doctor in the same words; changes go on to be copied, also after a restart; when the client's
    index is gone, the alias is what it was."""
    flow, name = begin(shared, "shadow")
    client(flow, name, prefix="elsewhere").create()
    assert found(flow, name) == 0, "it hides the alias"
    wait(flow, lambda: told(flow, name)["state"] == "taken")
    (line,) = shared.daemon.logs(event="index name is taken", contract=flow.contract)
    for text in (told(flow, name)["problem"], line["problem"], flow.lane()["complaint"]):
        assert name in text and f"FT.DROPINDEX {name}" in text
    assert flow.metric("syncd_index_taken", index=name) == 1
    assert not flow.lane()["ready"]
    status = syncd("status", "--http", shared.daemon.url.removeprefix("http://"))
    assert f"FT.DROPINDEX {name}" in status.stdout
    assert told(flow, name)["problem"] in doctor(shared)
    shared.daemon.terminate()
    flow.collection.insert_one({"_id": 900, "title": "film", "year": 1})
    shared.daemon.start()
    flow.wait_live()
    flow.wait_hash(900, {"title": "film", "year": "1"})
    wait(flow, lambda: told(flow, name)["state"] == "taken")
    flow.redis.execute_command("FT.DROPINDEX", name)
    wait(flow, lambda: flow.lane()["ready"] and told(flow, name)["state"] == "complete")
    assert (real(flow, name), found(flow, name)) == (f"{name}:1", COUNT + 1)
    assert flow.metric("syncd_index_taken", index=name) == 0
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 1


def test_an_edit_while_the_name_is_taken(shared: Scene) -> None:
    """nothing_lost: the next index is built, and takes the name as soon as it is free."""
    flow, name = begin(shared, "edited")
    client(flow, name, prefix="elsewhere").create()
    wait(flow, lambda: told(flow, name)["state"] == "taken")
    flow.write(indexed(name, TITLE, YEAR))
    wait(flow, lambda: told(flow, name).get("real") == f"{name}:2")
    flow.redis.execute_command("FT.DROPINDEX", name)
    wait(flow, lambda: flow.lane()["ready"] and real(flow, name) == f"{name}:2")
    assert found(flow, name, "@year:[1900 1909]") == 10


@pytest.mark.parametrize("generations", ["alias", "in_place"])
def test_a_client_drops_the_index_with_its_keys(shared: Scene, generations: str) -> None:
    """nothing_lost, nothing_silent: FT.DROPINDEX name DD: the index is made again, and every key is written again."""
    flow, name = begin(shared, f"dropped-{generations.replace('_', '-')}", generations=generations)
    flow.redis.execute_command("FT.DROPINDEX", name, "DD")
    assert not flow.keys()
    flow.wait_same()
    wait(flow, lambda: flow.lane()["ready"] and found(flow, name) == COUNT)
    assert shared.daemon.logs(event="index was dropped by another client", contract=flow.contract, index=name)
    assert shared.daemon.logs(event="index keys are gone, copying again", contract=flow.contract)


def test_a_client_creates_over_its_own_with_drop(shared: Scene) -> None:
    """nothing_lost: `create(overwrite=True, drop=True)` of an index that hides the alias removes the keys of both: they
    are written again, for the index behind the alias has lost them."""
    flow, name = begin(shared, "overwrite")
    other = client(flow, name)
    other.create()
    wait(flow, lambda: told(flow, name)["state"] == "taken" and found(flow, name) == COUNT)
    other.create(overwrite=True, drop=True)
    wait(flow, lambda: shared.daemon.logs(event="index keys are gone, copying again", contract=flow.contract))
    flow.wait_same()


def test_a_client_clears_the_index(shared: Scene) -> None:
    """nothing_lost: keys that a client removes by `clear()`, all of them, are written again; a deletion of most
    documents in MongoDB is no reason for a copy."""
    flow, name = begin(shared, "clear")
    flow.collection.delete_many({"_id": {"$lt": COUNT - 4}})
    wait(flow, lambda: told(flow, name)["documents"] == 4)
    assert not shared.daemon.logs(event="index keys are gone, copying again", contract=flow.contract)
    SearchIndex.from_existing(name, redis_client=flow.redis).clear()
    wait(flow, lambda: shared.daemon.logs(event="index keys are gone, copying again", contract=flow.contract))
    flow.wait_same()


def test_a_client_drops_the_index_and_leaves_the_keys(shared: Scene) -> None:
    """nothing_lost, nothing_silent: FT.DROPINDEX without DD: the index is made again under its old name, and nothing is
    copied."""
    flow, name = begin(shared, "left")
    flow.redis.execute_command("FT.DROPINDEX", name)
    wait(
        flow, lambda: shared.daemon.logs(event="index was dropped by another client", contract=flow.contract)
    )
    wait(flow, lambda: flow.lane()["ready"] and told(flow, name)["documents"] == COUNT)
    assert real(flow, name) == f"{name}:1"
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 1


def test_in_place(shared: Scene) -> None:
    """With `generations: in_place` the name is the index: a client's `create()` finds it there. An edit drops it and
    makes it again, and the gap is told."""
    flow, name = begin(shared, "place", generations="in_place")
    other = client(flow, name)
    assert other.exists()
    other.create()
    assert (names(flow, name), real(flow, name)) == ({name}, name)
    flow.write(indexed(name, TITLE, YEAR, generations="in_place"))
    wait(flow, lambda: shared.daemon.logs(event="index is complete again", contract=flow.contract))
    assert names(flow, name) == {name}
    assert found(flow, name, "@year:[1900 1909]") == 10
    (line,) = shared.daemon.logs(
        event="index is made again, searches find less until it is complete", contract=flow.contract
    )
    assert (line["level"], line["index"], line["why"]) == ("warning", name, "the contract has changed")
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 1


def test_in_place_and_a_client_that_overwrites(shared: Scene) -> None:
    """nothing_lost, nothing_silent: `create(overwrite=True, drop=True)` puts the client's index in place of ours: it is
    left alone and told, the keys are written again, and once it is gone ours is made."""
    flow, name = begin(shared, "replaced", YEAR, generations="in_place")
    client(flow, name, prefix=flow.key("").rstrip(":")).create(overwrite=True, drop=True)
    wait(flow, lambda: told(flow, name)["state"] == "taken")
    flow.wait_same()
    assert f"FT.DROPINDEX {name}" in told(flow, name)["problem"]
    assert told(flow, name)["problem"] in doctor(shared)
    flow.redis.execute_command("FT.DROPINDEX", name)
    wait(flow, lambda: flow.lane()["ready"] and found(flow, name, "@year:[1900 1909]") == 10)
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 2


def test_from_an_alias_to_in_place_and_back(shared: Scene) -> None:
    """Either way the name finds every document in the end, and the index behind the alias stays for those that opened
    it."""
    flow, name = begin(shared, "ways")
    flow.write(indexed(name, TITLE, generations="in_place"))
    wait(flow, lambda: told(flow, name).get("real") == name and found(flow, name) == COUNT)
    assert names(flow, name) == {name, f"{name}:1"}
    flow.write(indexed(name, TITLE))
    wait(flow, lambda: told(flow, name).get("real") == f"{name}:2" and flow.lane()["ready"])
    assert (real(flow, name), found(flow, name)) == (f"{name}:2", COUNT)
    assert names(flow, name) == {f"{name}:1", f"{name}:2"}


def test_a_client_that_opened_the_index_before_an_edit(shared: Scene) -> None:
    """RedisVL resolves an alias when it opens an index: that one goes on to answer after edits, for as long as
    `keep_old` says, or until a person drops it; with changes of after the edit."""
    flow, name = begin(shared, "opened")
    opened = SearchIndex.from_existing(name, redis_client=flow.redis)
    assert opened.name == f"{name}:1"
    for number, fields in enumerate([(TITLE, YEAR), (YEAR,)], start=2):
        flow.write(indexed(name, *fields, keep_old="until_dropped"))
        wait(flow, lambda number=number: told(flow, name).get("real") == f"{name}:{number}")
    flow.collection.insert_one({"_id": 900, "title": "film", "year": 1})
    flow.wait_hash(900, {"title": "film", "year": "1"})
    assert len(opened.query(FilterQuery(return_fields=["title"], num_results=100))) == COUNT + 1
    assert {(one["real"], one["until"]) for one in told(flow, name)["old"]} == {
        (f"{name}:1", None),
        (f"{name}:2", None),
    }
    flow.write(indexed(name, TITLE, keep_old="1s"))
    wait(flow, lambda: told(flow, name).get("real") == f"{name}:4")
    wait(flow, lambda: names(flow, name) == {f"{name}:1", f"{name}:2", f"{name}:4"})


def test_the_number_of_documents_that_an_index_leaves_out(shared: Scene) -> None:
    """nothing_silent: `syncd_index_failures` is how many are not in the index now: one that is written ten times counts
    once, one that is fixed or deleted no longer."""
    flow, name = begin(shared, "left-out", TITLE, YEAR)
    for attempt in range(10):
        flow.collection.update_many({"_id": {"$lt": 3}}, {"$set": {"year": f"a private word {attempt}"}})
    wait(flow, lambda: flow.metric("syncd_index_failures", index=name) == 3)
    assert (told(flow, name)["left_out"], told(flow, name)["documents"]) == (3, COUNT - 3)
    flow.collection.update_one({"_id": 0}, {"$set": {"year": 2000}})
    wait(flow, lambda: flow.metric("syncd_index_failures", index=name) == 2)
    flow.collection.delete_one({"_id": 1})
    wait(flow, lambda: flow.metric("syncd_index_failures", index=name) == 1)
    flow.collection.update_one({"_id": 2}, {"$set": {"year": 2000}})
    wait(flow, lambda: flow.metric("syncd_index_failures", index=name) == 0)
    assert "private" not in shared.daemon.process.log.read_text()


def test_names_of_other_clients(shared: Scene) -> None:
    """nothing_silent: an index, and an alias, of the contract's name are left as they are, and so is an index called
    like the first one behind an alias; the keys are copied."""
    name = f"{shared.token}-theirs"
    shared.redis.execute_command("FT.CREATE", name, "PREFIX", 1, "elsewhere:", "SCHEMA", "a", "TEXT")
    shared.redis.execute_command("FT.CREATE", f"{name}:1", "PREFIX", 1, "elsewhere:", "SCHEMA", "a", "TEXT")
    shared.redis.execute_command(
        "FT.CREATE", f"{name}-place", "PREFIX", 1, "elsewhere:", "SCHEMA", "a", "TEXT"
    )
    shared.redis.execute_command("FT.ALIASADD", f"{name}-alias", f"{name}:1")
    one = shared.run("theirs", indexed(name), documents=FILMS)
    two = shared.run("theirs-alias", indexed(f"{name}-alias"), documents=FILMS)
    three = shared.run("theirs-place", indexed(f"{name}-place", generations="in_place"), documents=FILMS)
    for flow, said in ((one, name), (two, f"{name}-alias"), (three, f"{name}-place")):
        flow.wait_same()
        assert told(flow, said)["state"] == "taken"
    assert (real(one, name), real(one, f"{name}-alias")) == (name, f"{name}:1")
    assert told(one, name)["real"] == f"{name}:2"


def test_in_place_and_a_client_that_was_first(shared: Scene) -> None:
    """An index over the same keys and fields will do, also one that another client made."""
    name = f"{shared.token}-first"
    prefix = f"{shared.token}:first:card:"
    shared.redis.execute_command("FT.CREATE", name, "PREFIX", 1, prefix, "SCHEMA", "title", "TEXT")
    flow = shared.run("first", indexed(name, generations="in_place"), documents=FILMS)
    wait(flow, lambda: told(flow, name)["state"] == "complete" and found(flow, name) == COUNT)
    assert flow.lane()["ready"]


def test_what_happens_while_no_daemon_runs(shared: Scene) -> None:
    """nothing_lost: keys that went with an index, and a record of the indexes that is lost, are seen at the next
    start."""
    one, dropped = begin(shared, "down-dropped")
    two, forgotten = begin(shared, "down-forgotten")
    shared.daemon.kill()
    one.redis.execute_command("FT.DROPINDEX", dropped, "DD")
    two.redis.delete(two.names.control("indexes"))
    shared.daemon.start()
    for flow, name in ((one, dropped), (two, forgotten)):
        flow.wait_same()
        wait(flow, lambda flow=flow, name=name: flow.lane()["ready"] and found(flow, name) == COUNT)
    assert told(two, forgotten)["real"] in (f"{forgotten}:1", f"{forgotten}:2")
    assert len(shared.daemon.logs(event="snapshot started", contract=two.contract)) == 1

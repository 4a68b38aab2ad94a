"""What no person asked to remove stays: keys of an application, and those that a mistake in a contract would remove."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import ContractDirectory, projection
from tests.support.scene import Flow, Scene

COUNT = 120
CARD = projection(["title"])
BY_SLUG = projection(["title"], key="{slug}")


def films(count: int = COUNT) -> list[dict[str, Any]]:
    return [{"_id": n, "title": f"film {n}", "slug": f"s{n}", "state": "public"} for n in range(count)]


def say(scene: Scene, *words: str) -> str:
    done = syncd(*words, SYNCD_REDIS_URL=scene.reach["redis_url"])
    assert done.returncode == 0, done.stderr
    return done.stdout


def copied(scene: Scene, flow: Flow) -> int:
    return len(scene.daemon.logs(event="snapshot finished", contract=flow.contract))


def again(scene: Scene, flow: Flow, *options: str) -> None:
    """A copy of everything, to its end."""
    before = copied(scene, flow)
    say(scene, "snapshot", flow.contract, *options)
    wait_until(lambda: copied(scene, flow) > before, 20, flow.lane)
    flow.wait_live()


@pytest.mark.parametrize("card", [CARD, BY_SLUG], ids=["by_id", "by_map"])
def test_keys_of_an_application_stay(shared: Scene, card: dict[str, Any]) -> None:
    """nothing_lost: keys that were under a template before the contract stay through copies, changes and repairs, of
    any type and of documents that the filter leaves out; a document with such a key takes it over, and `--adopt` takes
    them all."""
    short = "own-" + ("id" if card is CARD else "map")
    prefix = f"{shared.token}:{short}:card:"
    shared.redis.hset(f"{prefix}mine", "cart", "7")
    shared.redis.hset(f"{prefix}draft", "cart", "8")
    shared.redis.set(f"{prefix}text", "9")
    shared.redis.hset(f"{prefix}{'0' if card is CARD else 's0'}", "cart", "10")
    draft = {"_id": "draft", "slug": "draft", "state": "draft", "title": "draft"}
    more = {"filter": {"state": "public"}, "unique": [["slug"]]}
    flow = shared.run(short, card, documents=[*films(5), draft], **more)
    theirs = {"mine", "draft", "text"}

    def assert_there() -> None:
        assert flow.keys() & theirs == theirs
        assert flow.hash("mine") == {"cart": "7"} and flow.hash("draft") == {"cart": "8"}

    assert_there()
    assert len(flow.keys()) == 5 + len(theirs)
    (said,) = shared.daemon.logs(event="keys of an application are under the key template; those without a document "
                                 "stay", contract=flow.contract)  # fmt: skip
    assert said["count"] == 4
    flow.collection.update_one({"_id": "draft"}, {"$set": {"title": "changed"}})
    flow.collection.delete_one({"_id": "draft"})
    flow.collection.delete_one({"_id": 4})
    again(shared, flow)
    assert_there()
    reach = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    check = syncd("reconcile", flow.contract, "--repair", "--contracts", shared.contracts.path, **reach)
    assert check.returncode == 0, check.stdout + check.stderr
    assert_there()
    flow.redis.delete(flow.names.control("position"))
    again(shared, flow)
    assert_there()
    flow.collection.insert_one({"_id": "mine", "slug": "mine", "title": "taken", "state": "public"})
    flow.wait_hash("mine", {"title": "taken"})
    flow.collection.delete_one({"_id": "mine"})
    flow.wait_gone("mine")
    again(shared, flow, "--adopt")
    wait_until(lambda: not flow.keys() & {"draft"}, 20, flow.keys)


def test_each_template_tells_its_own(shared: Scene) -> None:
    """Doctor counts the keys of an application for each template by itself, with samples of that template, before the
    contract has run and afterwards."""
    prefix = f"{shared.token}:apart"
    for key in ("card:a", "card:b", "note:x", "note:y", "note:z"):
        shared.redis.hset(f"{prefix}:{key}", "cart", "7")
    contract = ContractDirectory(shared.contracts.path.parent / "apart", shared.token)
    contract.write("apart", CARD, projection(["title"], name="note"))

    def told() -> list[str]:
        reach = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
        found = json.loads(syncd("doctor", contract.path, "-o", "json", **reach).stdout)["findings"]
        return [one["what"].partition("; ")[0] for one in found if "not written by syncd" in one["what"]]

    def assert_apart() -> None:
        cards, notes = told()
        assert cards.startswith(f"2 keys under `{prefix}:card:{{_id}}` ") and ":note:" not in cards
        assert notes.startswith(f"3 keys under `{prefix}:note:{{_id}}` ") and ":card:" not in notes

    assert_apart()
    shared.run("apart", CARD, projection(["title"], name="note"), documents=films(2))
    assert_apart()


def test_a_contract_may_adopt(shared: Scene) -> None:
    """no_ghosts: with `adopt: true`, also by an edit, keys that were there before go where they have no document."""
    for key in ("adopted:card:a", "later:card:a"):
        shared.redis.hset(f"{shared.token}:{key}", "cart", "7")
    flow = shared.run("adopted", CARD, documents=films(3), sync={"adopt": True})
    flow.wait_same()
    later = shared.run("later", CARD, documents=films(3))
    assert later.keys() >= {"a"}
    later.write(CARD, sync={"adopt": True})
    later.wait_same()


@pytest.mark.parametrize("how", ["--adopt", "adopt: true"])
def test_to_adopt_is_no_permission_to_remove_much(shared: Scene, how: str) -> None:
    """nothing_lost, nothing_silent: keys that are adopted count as the contract's own. Where many would go, because of
    a mistake or because many were there, the lane pauses as for its own keys, and removes them once that is allowed."""
    short = "much-asked" if how == "--adopt" else "much-said"
    if how == "--adopt":
        flow = shared.run(short, CARD, documents=films())
        flow.write(CARD, filter={"status": "public"})
        flow.wait_state("paused")
        say(shared, "snapshot", flow.contract, how)
    else:
        for number in range(COUNT):
            shared.redis.hset(f"{shared.token}:{short}:card:{number}", "cart", "7")
        flow = shared.add(short, CARD, sync={"adopt": True}, documents=[])
    paused = copied(shared, flow)
    error = flow.wait_state("paused")["error"]
    assert f"{COUNT} " in error and f"`syncd snapshot {flow.contract} --allow-removal`" in error
    assert (len(flow.keys()), copied(shared, flow)) == (COUNT, paused)
    say(shared, "snapshot", flow.contract, "--allow-removal")
    flow.wait_live()
    assert not flow.keys()


@pytest.mark.parametrize(
    ("short", "card"),
    [
        ("no-field", projection(["title"], key="{slugg}:{_id}")),
        ("no-text", projection(["title"], key="new:{_id}", key_values="text")),
        ("no-int", projection({"title": {"from": "title", "type": "int"}}, key="new:{_id}")),
        ("no-uuid", projection(["title"], key_types={"_id": "uuid"})),
    ],
)
def test_keys_that_nothing_replaces_stay(shared: Scene, short: str, card: dict[str, Any]) -> None:
    """nothing_lost: an edit of a projection whose documents are all dead letters then pauses the lane, and the old keys
    stay."""
    flow = shared.run(f"unreplaced-{short}", CARD, documents=films())
    flow.write(card)
    assert f"{COUNT} " in flow.wait_state("paused")["error"]
    assert len(flow.keys()) == COUNT


@pytest.mark.parametrize("edit", ["collection", "filter", "template"])
def test_a_mistake_removes_nothing(shared: Scene, edit: str) -> None:
    """nothing_lost, nothing_silent: an edit to a collection that is not there, or to a filter that nothing matches,
    pauses the lane with what would go and the command that allows it; corrected, it goes on, and all keys were there
    all the while."""
    flow = shared.run(f"wrong-{edit}", CARD, documents=films())
    mistakes: dict[str, dict[str, Any]] = {
        "collection": {"collection": f"{shared.token}.moveis"},
        "filter": {"filter": {"status": "public"}},
        "template": {"collection": f"{shared.token}.moveis"},
    }
    card = projection(["title"], key="new:{_id}") if edit == "template" else CARD
    flow.write(card, **mistakes[edit])
    error = flow.wait_state("paused")["error"]
    assert f"{COUNT} " in error and f"`syncd snapshot {flow.contract} --allow-removal`" in error
    assert len(flow.keys()) == COUNT
    assert shared.daemon.get("/readyz")[0] == 503
    if edit == "template":
        say(shared, "snapshot", flow.contract, "--allow-removal")
        flow.wait_live()
        assert not flow.keys()
        return
    flow.write(CARD)
    flow.wait_live()
    flow.wait_same()
    flow.write(card, **mistakes[edit])
    flow.wait_state("paused")
    before = shared.daemon.metric("syncd_keys_removed_total", contract=flow.contract, reason="sweep")
    say(shared, "snapshot", flow.contract, "--allow-removal")
    flow.wait_live()
    assert not flow.keys()
    removed = (
        shared.daemon.metric("syncd_keys_removed_total", contract=flow.contract, reason="sweep") - before
    )
    assert removed == COUNT
    assert shared.daemon.logs(event="snapshot finished", contract=flow.contract)[-1]["removed"] == COUNT
    wait_until(
        lambda: shared.daemon.logs(event="keys removed", contract=flow.contract, reason="sweep"),
        20,
        "a log line",
    )


@pytest.mark.parametrize(("limit", "goes"), [("20%", False), (60, True), (0, False)])
def test_the_limit_is_the_contract_s(shared: Scene, limit: Any, goes: bool) -> None:
    """no_ghosts: a sweep of half of the keys goes or pauses as `sweep_limit` says; up to a hundred keys always go."""
    sync = {"sweep_limit": limit}
    flow = shared.run(f"limit-{int(goes)}-{len(str(limit))}", CARD, documents=films(240), sync=sync)
    flow.collection.update_many({"_id": {"$lt": COUNT}}, {"$set": {"state": "draft"}})
    flow.write(CARD, sync=sync, filter={"state": "public"})
    if goes:
        flow.wait_same()
        return
    flow.wait_state("paused")
    assert len(flow.keys()) == 240
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"state": "public"}})
    say(shared, "snapshot", flow.contract)
    flow.wait_same()


def with_keys_of_an_application(scene: Scene, short: str, card: dict[str, Any] = CARD) -> Flow:
    """A live contract with some documents, and two keys that were there before it."""
    for name in ("mine", "yours"):
        scene.redis.hset(f"{scene.token}:{short}:card:{name}", "cart", "7")
    flow = scene.run(short, card, documents=films(5), unique=[["slug"]])
    flow.collection.create_index("slug", unique=True)
    return flow


def reconciled(scene: Scene, flow: Flow) -> int:
    """Exit code of a check with repair."""
    reach = {"SYNCD_REDIS_URL": scene.reach["redis_url"], "SYNCD_MONGO_URI": scene.reach["mongo_uri"]}
    return syncd(
        "reconcile", flow.contract, "--repair", "--contracts", scene.contracts.path, **reach
    ).returncode


def told_lost(scene: Scene, flow: Flow) -> bool:
    """Whether doctor says that the record of an application's keys is lost."""
    reach = {"SYNCD_REDIS_URL": scene.reach["redis_url"], "SYNCD_MONGO_URI": scene.reach["mongo_uri"]}
    found = json.loads(syncd("doctor", scene.contracts.path, "-o", "json", **reach).stdout)["findings"]
    return any("lost the record" in one["what"] and flow.contract in one["contracts"] for one in found)


@pytest.mark.parametrize("card", [CARD, BY_SLUG], ids=["by_id", "by_map"])
def test_a_lost_record_of_an_application_s_keys(shared: Scene, card: dict[str, Any]) -> None:
    """nothing_lost, nothing_silent: where Redis has lost which keys were there before the contract, no copy and no
    repair removes a key; the lane pauses until `--allow-removal`, doctor says why, and deletions of documents go on."""
    flow = with_keys_of_an_application(shared, "lost-" + ("id" if card is CARD else "map"), card)
    theirs = {"mine", "yours"}
    assert not told_lost(shared, flow)
    flow.redis.delete(flow.names.control("foreign"))
    assert told_lost(shared, flow)
    first, second = ("0", "1") if card is CARD else ("s0", "s1")
    flow.redis.delete(flow.key(first))
    assert reconciled(shared, flow) == 1
    assert flow.hash(first) == {"title": "film 0"}
    assert flow.keys() >= theirs
    flow.collection.delete_one({"_id": 1})
    flow.wait_gone(second)
    say(shared, "snapshot", flow.contract)
    assert "lost the record" in flow.wait_state("paused")["error"]
    assert flow.keys() >= theirs
    say(shared, "snapshot", flow.contract, "--allow-removal")
    flow.wait_live()
    flow.wait_same()
    assert not told_lost(shared, flow)


def test_a_lost_record_is_noticed_in_the_step_that_removes(shared: Scene) -> None:
    """nothing_lost: a sweep that knew whose the keys are removes none where that is lost before its call."""
    flow = with_keys_of_an_application(shared, "blind")
    other = with_keys_of_an_application(shared, "sighted")
    position = flow.names.control("position")
    shared.daemon.pause()
    flow.redis.delete(flow.names.control("foreign"))
    flow.redis.hset(position, "phase", "sweep")
    flow.collection.delete_one({"_id": 1})
    shared.daemon.resume()
    assert "lost the record" in flow.wait_state("paused")["error"]
    assert flow.keys() == {"mine", "yours", *map(str, range(5))}
    other.collection.delete_one({"_id": 1})
    other.wait_gone(1)


@pytest.mark.parametrize("also", [False, True], ids=["claims", "claims_and_record"])
def test_lost_claims_are_taken_again(shared: Scene, also: bool) -> None:
    """nothing_lost: a daemon whose claims Redis has lost takes them again while it works; an application's keys stay,
    also where the record of these is lost with them."""
    flow = with_keys_of_an_application(shared, f"claims-{also:d}")
    before = copied(shared, flow)
    shared.daemon.pause()
    flow.redis.delete("syncd:claims", *([flow.names.control("foreign")] if also else []))
    shared.daemon.resume()
    flow.collection.update_one({"_id": 0}, {"$set": {"title": "changed"}})
    if also:
        assert "lost the record" in flow.wait_state("paused")["error"]
    else:
        wait_until(lambda: copied(shared, flow) > before, 20, flow.lane)
        flow.wait_live()
    flow.wait_hash("0", {"title": "changed"})
    assert flow.keys() == {"mine", "yours", *map(str, range(5))}
    claims = [
        json.loads(text) for name, text in flow.redis.hgetall("syncd:claims").items() if b"key " in name
    ]
    assert flow.contract in {claim["contract"] for claim in claims}

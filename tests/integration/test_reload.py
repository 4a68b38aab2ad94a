"""Contracts that change while the daemon runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

FILMS: list[dict[str, Any]] = [
    {"_id": n, "slug": f"s{n}", "title": f"film {n}", "year": 1900 + n} for n in range(60)
]


@pytest.fixture(scope="module")
def neighbour(shared: Scene) -> Flow:
    """A contract that is not touched."""
    return shared.run("neighbour", projection(["title"]), documents=FILMS)


@pytest.fixture(autouse=True)
def neighbour_is_left_alone(shared: Scene, neighbour: Flow) -> Any:
    """Whatever happens to one contract: the daemon is the same process, and other lanes go on as they were."""
    before = shared.daemon.process.pid, neighbour.lane()["since"]
    yield
    assert (shared.daemon.process.pid, neighbour.lane()["since"]) == before
    assert neighbour.lane()["state"] == "live"
    assert len(shared.daemon.logs(event="lane live", contract=neighbour.contract)) == 1


def reloads(scene: Scene, result: str) -> float:
    return scene.daemon.metric("syncd_contract_reload_total", result=result)


def test_a_new_field_appears(shared: Scene) -> None:
    """A field added to a contract shows in every key without a restart, and one taken out goes."""
    flow = shared.run("field", projection(["title"]), documents=FILMS)
    applied = reloads(shared, "applied")
    flow.write(projection(["title", "year"]))
    flow.wait_same()
    assert flow.hash(7) == {"title": "film 7", "year": "1907"}
    wait_until(lambda: reloads(shared, "applied") == applied + 1)
    flow.write(projection({"when": "year"}))
    flow.wait_same()
    flow.wait_live()
    flow.collection.update_one({"_id": 7}, {"$set": {"year": 1}})
    flow.wait_hash(7, {"when": "1"})


def test_a_broken_edit_changes_nothing(shared: Scene) -> None:
    """A set with a mistake is refused as a whole, and said to be; the old one runs on until it is fixed."""
    flow = shared.run("broken", projection(["title"]), documents=FILMS)
    daemon = shared.daemon
    since, refused = flow.lane()["since"], reloads(shared, "refused")
    good = shared.contracts.file("broken").read_text()
    shared.contracts.write_text(
        "broken", good.replace('"title"', '"title", "year"').replace('"hash"', '"hasch"')
    )
    wait_until(lambda: reloads(shared, "refused") == refused + 1)
    assert daemon.metric("syncd_contracts_valid") == 0
    contracts = daemon.status()["contracts"]
    assert contracts["valid"] is False
    assert "broken.yaml:" in contracts["problems"][0]
    assert "type" in contracts["problems"][0]
    assert daemon.logs(level="error", problems=contracts["problems"])
    # A good edit beside it does not come into force either.
    shared.add("beside", projection(["title"]), documents=FILMS)
    wait_until(lambda: reloads(shared, "refused") == refused + 2)
    assert f"{shared.token}-beside" not in str(daemon.status()["lanes"])
    # What ran goes on, as it was.
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "still here", "year": 5}})
    flow.wait_hash(1, {"title": "still here"})
    assert flow.lane()["since"] == since
    shared.contracts.write_text("broken", good.replace('"title"', '"title", "year"'))
    flow.wait_hash(1, {"title": "still here", "year": "5"})
    wait_until(lambda: daemon.status()["contracts"] == {"valid": True, "problems": [], "waiting": {}})
    assert daemon.metric("syncd_contracts_valid") == 1
    assert reloads(shared, "refused") == refused + 2


def test_contracts_come_and_go(shared: Scene) -> None:
    """A new file starts a lane. A removed one stops it: no lane, no series, and no more changes in Redis. When it comes
    back it copies, for no daemon kept its keys meanwhile."""
    flow = shared.run("guest", projection(["title"]), documents=FILMS)
    assert flow.metric("syncd_changes_total") == 0
    shared.contracts.remove("guest")
    wait_until(lambda: not flow.lane())
    assert flow.contract not in shared.daemon.get("/metrics")[1]
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "unseen"}})
    assert flow.redis.get(flow.names.control("lease")) is None, "the lease was given back"
    flow.write(projection(["title"]))
    flow.wait_hash(1, {"title": "unseen"})
    flow.wait_live()
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 2


def test_an_edit_that_says_the_same_restarts_nothing(shared: Scene) -> None:
    """A comment, or another order of keys, is no change."""
    flow = shared.run("same", projection(["title"]), documents=FILMS)
    since, applied = flow.lane()["since"], reloads(shared, "applied")
    file = shared.contracts.file("same")
    shared.contracts.write_text("same", "# a comment\n" + file.read_text())
    wait_until(lambda: reloads(shared, "applied") == applied + 1)
    assert flow.lane()["since"] == since


def test_a_file_that_is_gone_for_a_moment(shared: Scene) -> None:
    """Some tools move a file away and write it again: its contract has not left, and copies nothing."""
    flow = shared.run("moved", projection(["title"]), documents=FILMS)
    since, applied = flow.lane()["since"], reloads(shared, "applied")
    file = shared.contracts.file("moved")
    beside = file.rename(file.with_suffix(".old"))
    time.sleep(0.4)  # far longer than the watch waits for the end of an edit
    beside.rename(file)
    wait_until(lambda: reloads(shared, "applied") > applied)
    assert flow.lane()["since"] == since
    assert len(shared.daemon.logs(event="snapshot started", contract=flow.contract)) == 1


def test_another_type_of_key(shared: Scene) -> None:
    """A projection that turns from hash to JSON, to string and back leaves no key of the old type."""
    flow = shared.run("kind", projection(["title", "year"], ttl="1h"), documents=FILMS)
    for kind in ("json", "string", "hash"):
        flow.write(projection(["title", "year"], type=kind))
        wait_until(lambda kind=kind: len(typed_keys(flow, kind)) == len(FILMS), 20, flow.lane)
        flow.wait_same()
        flow.wait_live()
        assert flow.redis.pttl(flow.key(1)) == -1, "the TTL went with the old contract"
        flow.collection.update_one({"_id": 1}, {"$inc": {"year": 1}})
        flow.wait_same()
    assert not flow.dead_letters()


def typed_keys(flow: Flow, kind: str) -> list[bytes]:
    name = "ReJSON-RL" if kind == "json" else kind
    return list(flow.redis.scan_iter(f"{flow.names.prefix('card')}*", count=1000, _type=name))


def test_another_key(shared: Scene) -> None:
    """Another key template leaves no key of the old one, from `_id` to a field and back."""
    flow = shared.run("template", projection(["title"]), unique=[["slug"]], documents=FILMS)
    for key in ("{slug}", "{_id}:x", "{slug}:{_id}", "{slug}"):
        flow.write(projection(["title"], key=key), unique=[["slug"]])
        flow.wait_same()
        flow.wait_live()
        flow.assert_same()
    flow.collection.update_one({"_id": 3}, {"$set": {"slug": "new"}})
    flow.wait_same()
    assert flow.redis.exists(flow.key("new"))


@pytest.mark.parametrize("key", ["{_id}", "{slug}"], ids=["by-id", "by-field"])
def test_another_name(shared: Scene, key: str) -> None:
    """A projection that only gets another name keeps its keys, and owns them from then on."""
    short = "name-id" if key == "{_id}" else "name-field"
    flow = shared.run(short, projection(["title"], key=key), unique=[["slug"]], documents=FILMS)
    text = shared.contracts.file(short).read_text()
    shared.contracts.write_text(short, text.replace('"projection": "card"', '"projection": "other"'))
    wait_until(lambda: len(shared.daemon.logs(event="snapshot finished", contract=flow.contract)) == 2)
    flow.wait_live()
    flow.assert_same()
    flow.collection.delete_one({"_id": 1})
    flow.collection.update_one({"_id": 2}, {"$set": {"slug": "new", "title": "two"}})
    flow.wait_same()


def test_a_projection_that_goes(shared: Scene) -> None:
    """A projection taken out of a contract takes its keys with it."""
    shapes = [
        projection(["title"]),
        projection(["year"], name="years", type="json"),
        projection(["year"], name="slugs", key="{slug}"),
    ]
    flow = shared.run("fewer", *shapes, unique=[["slug"]], documents=FILMS)
    assert len(flow.keys("years")) == len(flow.keys("slugs")) == len(FILMS)
    flow.write(shapes[0])
    wait_until(lambda: not flow.keys("years") and not flow.keys("slugs"), 20, flow.lane)
    flow.wait_live()
    flow.assert_same()
    assert not list(flow.redis.scan_iter(flow.names.control("*:slugs*"), count=1000))


def test_another_filter(shared: Scene) -> None:
    """What a changed filter leaves out goes, what it lets in comes."""
    flow = shared.run("sieve", projection(["title"]), filter={"year": {"$lt": 1930}}, documents=FILMS)
    flow.write(projection(["title"]), filter={"year": {"$gte": 1920}})
    flow.wait_same()
    assert len(flow.keys()) == 40


def test_an_edit_while_the_snapshot_runs(scene: Scene) -> None:
    """A contract that changes in the middle of its first snapshot ends as the last version says."""
    films = [{"_id": n, "title": "x" * 100, "year": n} for n in range(6000)]
    flow = scene.add("early", projection(["title"]), documents=films)
    daemon = scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="100", SYNCD_BATCH_WRITES="10")
    daemon.start()
    wait_until(lambda: flow.copied() > 300)
    flow.write(projection(["year"], name="other", key="{_id}:b"))
    wait_until(
        lambda: flow.position()["phase"] == b"stream" and len(flow.keys("other")) == 6000, 30, flow.position
    )
    assert not flow.keys("card")
    flow.assert_same()
    assert len(daemon.logs(event="snapshot started")) == 2


def test_a_directory_that_is_a_link(scene: Scene, tmp_path: Path) -> None:
    """Kubernetes puts a new directory behind a link: the daemon sees it."""
    flow = scene.add("linked", projection(["title"]), documents=FILMS)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..one").mkdir()
    (mounted / "..one" / "linked.yaml").write_text(scene.contracts.file("linked").read_text())
    (mounted / "..data").symlink_to("..one")
    (mounted / "linked.yaml").symlink_to("..data/linked.yaml")
    daemon = scene.another_daemon(SYNCD_CONTRACTS=str(mounted))
    daemon.process.command[-1] = str(mounted)
    daemon.start()
    wait_until(lambda: len(flow.keys()) == len(FILMS))
    (mounted / "..two").mkdir()
    flow.projections = (projection(["title", "year"]),)
    text = scene.contracts.text(flow.names, flow.projections)
    (mounted / "..two" / "linked.yaml").write_text(text)
    (mounted / "..next").symlink_to("..two")
    (mounted / "..next").replace(mounted / "..data")
    flow.wait_same()

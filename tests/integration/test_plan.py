"""`syncd plan` says what an edit does, and then the daemon does that: to documents, keys, memory and indexes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from syncd.contract.read.load import load_contract_set
from syncd.daemon.contract_registration import place_of
from syncd.ops.planning.decide import Action
from syncd.ops.planning.plan import plan_edit
from syncd.ops.planning.step import EditPlan, Step
from syncd.settings import Settings
from syncd.stores.redis.records.claims import contracts_beside
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import ContractDirectory, Names, projection
from tests.support.scene import Flow, Scene

COUNT = 400
DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": n,
        "slug": f"s{n}",
        "title": f"film {n} " + "x" * (n % 40),
        "year": 1900 + n % 100,
        "tags": ["a", f"t{n}"],
    }
    for n in range(COUNT)
]
CARD = projection(["title"])
PAGE = projection(["title", "year", "tags"], name="page", type="json")
INDEX = f"i{secrets.token_hex(4)}"


def indexed(**attrs: Any) -> dict[str, Any]:
    return projection(
        ["title"], index={"name": INDEX, "fields": [{"name": "title", "type": "text", "attrs": attrs}]}
    )


class Edit:
    """A contract before and after; None: it is not there."""

    def __init__(
        self,
        action: Action,
        before: list[dict[str, Any]] | None,
        after: list[dict[str, Any]] | None,
        **more: Any,
    ) -> None:
        self.action, self.before, self.after, self.more = action, before, after, more


BY_SLUG = projection(["title"], key="slug:{slug}")
EDITS = {
    "same": Edit(Action.SAME, [CARD], [CARD]),
    "readers": Edit(
        Action.GOES_ON, [CARD], [CARD], consumers=[{"team": "web", "reads": {"card": ["title"]}}]
    ),
    "promise": Edit(Action.RESTART, [CARD], [CARD], slo={"freshness": "60s"}),
    "index": Edit(Action.INDEX, [indexed()], [indexed(weight=2.0)]),
    "field": Edit(Action.COPY, [CARD], [projection(["title", "year"])]),
    "key": Edit(Action.COPY, [CARD], [projection(["title"], key="n:{_id}")]),
    "moving": Edit(Action.COPY, [BY_SLUG], [CARD], unique=[["slug"]]),
    "more": Edit(Action.COPY, [CARD], [CARD, PAGE]),
    "less": Edit(Action.COPY, [CARD, PAGE], [CARD]),
    "filter": Edit(Action.COPY, [CARD], [CARD], filter={"year": {"$gte": 1910}}),
    "ttl": Edit(Action.COPY, [CARD], [projection(["title"], ttl="1h")]),
    "kind": Edit(Action.COPY, [projection(["title", "tags"])], [projection(["title", "tags"], type="json")]),
    "new": Edit(Action.BEGINS, None, [CARD]),
    "gone": Edit(Action.STOPS, [CARD], None),
}


@pytest.fixture(scope="module")
def run(shared: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The plan of all edits at once, and the scene after the daemon has taken them up."""
    flows: dict[str, Flow] = {}
    edited = ContractDirectory(tmp_path_factory.mktemp("edited"), shared.token)
    for name, edit in EDITS.items():
        flow = Flow(shared, *_place(shared, name))
        flow.collection.insert_many(DOCUMENTS)
        flows[name] = flow
        unique = {"unique": edit.more["unique"]} if "unique" in edit.more else {}
        if unique:
            flow.collection.create_index("slug", unique=True)
        if edit.before is not None:
            flow.write(*edit.before, **unique)
        if edit.after is not None:
            edited.write(name, *edit.after, **edit.more)
    shared.start()
    for name, edit in EDITS.items():
        if edit.before is not None:
            flows[name].wait_live(60)
    plan = planned(shared, edited.path)
    positions = {name: flow.position().get("epoch") for name, flow in flows.items()}
    for name, edit in EDITS.items():
        if edit.after is None:
            shared.contracts.remove(name)
        elif edit.action is not Action.SAME:
            flows[name].write(*edit.after, **edit.more)
    for name, edit in EDITS.items():
        if edit.after is not None and edit.action is not Action.GOES_ON:
            flows[name].wait_same(60)
            flows[name].wait_live(60)
    yield {"plan": plan, "flows": flows, "epochs": positions, "edited": edited.path}
    shared.redis.execute_command("FT.DROPINDEX", INDEX)


def _place(scene: Scene, name: str) -> tuple[Any, Any]:
    names = Names(scene.token, name)
    return names, scene.mongo[names.database][names.collection]


def planned(scene: Scene, directory: Path) -> EditPlan:
    settings = Settings.from_environment({f"SYNCD_{name.upper()}": url for name, url in scene.reach.items()})
    return plan_edit(load_contract_set(directory, {}), settings, {}, is_whole=True)


def step(run: Mapping[str, Any], name: str) -> Step:
    contract = run["flows"][name].contract
    return next(one for one in run["plan"].steps if one.contract == contract)


def near(said: float, real: float) -> bool:
    """Within ten percent."""
    return abs(said - real) <= 0.1 * real


@pytest.mark.parametrize("name", EDITS)
def test_the_plan_names_what_happens(run: dict[str, Any], name: str) -> None:
    """Nothing, a restart, a copy, a new contract or one that goes."""
    assert step(run, name).action is EDITS[name].action


@pytest.mark.parametrize(
    "name", [name for name, edit in EDITS.items() if edit.action in (Action.COPY, Action.BEGINS)]
)
def test_a_copy_is_as_large_as_planned(run: dict[str, Any], name: str) -> None:
    """Documents, keys, and what they hold and take in Redis, within ten percent."""
    flow, found = run["flows"][name], step(run, name).copy
    assert found is not None
    matching = flow.collection.count_documents(EDITS[name].more.get("filter") or {})
    assert near(found.documents, matching)
    assert near(found.documents, flow.copied())
    after = EDITS[name].after or []
    keys = {
        one["projection"]: [flow.key(end, one["projection"]) for end in flow.keys(one["projection"])]
        for one in after
    }
    assert {name: near(count, len(keys[name])) for name, count in found.keys.items()} == dict.fromkeys(
        keys, True
    )
    memory = sum(flow.redis.memory_usage(key) for some in keys.values() for key in some)
    assert near(found.memory, memory), (found.memory, memory)


@pytest.mark.parametrize("name", ["key", "moving", "less"])
def test_keys_that_go_are_counted(run: dict[str, Any], name: str) -> None:
    """With samples, and then they are gone."""
    (going,) = step(run, name).going
    assert (going.count, going.at_least) == (COUNT, False)
    assert going.samples
    assert not run["flows"][name].redis.exists(*going.samples)


def test_no_keys_go_where_all_are_replaced(run: dict[str, Any]) -> None:
    """As for a field more."""
    assert [name for name in EDITS if step(run, name).going] == ["key", "moving", "less"]
    leaving = f"about {COUNT // 10} of {COUNT} keys of "
    assert [name for name in EDITS if leaving in str(step(run, name).notes)] == ["filter"]


def test_an_index_is_made_beside_the_one_that_serves(run: dict[str, Any], shared: Scene) -> None:
    """And no document is copied."""
    assert step(run, "index").indexes == {INDEX: "beside"}
    assert step(run, "index").copy is None
    wait_until(lambda: f"{INDEX}:2".encode() in shared.redis.execute_command("FT._LIST"), 60)


def test_memory_afterwards_is_what_comes_and_goes(run: dict[str, Any]) -> None:
    """For a field more a little, for other keys nothing."""
    assert 0 < step(run, "field").memory < step(run, "field").copy.memory
    assert abs(step(run, "key").memory) < 0.15 * step(run, "key").copy.memory
    assert step(run, "less").memory < 0


def test_only_what_is_planned_restarts(run: dict[str, Any]) -> None:
    """A lane that goes on keeps its lease; and the file that runs is known afterwards all the same."""
    flows = run["flows"]
    for name in ("same", "readers"):
        assert flows[name].position()["epoch"] == run["epochs"][name]
    assert flows["promise"].position()["epoch"] != run["epochs"]["promise"]


def test_a_plan_says_what_it_means_for_readers(run: dict[str, Any]) -> None:
    """With the verdict of `syncd diff`, against what runs."""
    said = {name: str(found.verdict) for name in EDITS if (found := step(run, name).diff) is not None}
    assert said == {
        "same": "same", "readers": "patch", "promise": "minor", "index": "minor", "field": "minor", "key": "major",
        "moving": "major", "more": "minor", "less": "major", "filter": "major", "ttl": "major", "kind": "major",
        "new": "minor", "gone": "major",
    }  # fmt: skip


def test_nothing_is_left_to_do_afterwards(run: dict[str, Any], shared: Scene) -> None:
    """A second plan of the same files is empty, in the text and as an exit code."""
    wait_until(
        lambda: not planned(shared, run["edited"]).is_change, 30, lambda: str(planned(shared, run["edited"]))
    )
    env = {f"SYNCD_{name.upper()}": value for name, value in shared.reach.items()}
    again = syncd("plan", run["edited"], "--exit-code", **env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{len(EDITS) - 1} same" in again.stdout


def test_a_template_that_another_contract_takes_is_handed_over(shared: Scene, tmp_path: Path) -> None:
    """Both say so, and no key goes."""
    giver = shared.run("giver", CARD, PAGE, documents=DOCUMENTS[:50])
    taken = f"{giver.names.prefix('page')}{{_id}}"
    edited = ContractDirectory(tmp_path / "edited", shared.token)
    edited.write("giver", CARD)
    text = json.loads(ContractDirectory.text(giver.names, [PAGE]))
    text["metadata"]["name"] = f"{shared.token}-taker"
    edited.write_text("taker", json.dumps(text))
    steps = {one.contract: one for one in planned(shared, edited.path).steps}
    giving, taking = steps[giver.contract], steps[f"{shared.token}-taker"]
    assert (giving.action, giving.given, giving.going) == (Action.COPY, {f"key {taken}": taking.contract}, [])
    assert (taking.action, taking.taken) == (Action.BEGINS, {f"key {taken}": giver.contract})
    assert giving.diff is not None and "its keys stay" in giving.diff.changes[0].why


def test_a_contract_with_another_name_hands_all_over(shared: Scene, tmp_path: Path) -> None:
    """Neither side says that keys stay with the old name, or that they are taken; and a plan says what is paused."""
    shared.run("stays", CARD)
    old = shared.run("old", CARD, documents=DOCUMENTS[:20])
    env = {f"SYNCD_{name.upper()}": value for name, value in shared.reach.items()}
    assert syncd("pause", old.contract, "--why", "we move", **env).returncode == 0
    edited = ContractDirectory(tmp_path / "edited", shared.token)
    edited.write("old", CARD)
    edited.write("stays", CARD)
    said = syncd("plan", edited.path, **env).stdout
    assert f"{old.contract}: same\n  paused by " in said and "(we move)" in said, said
    text = json.loads(edited.file("old").read_text())
    text["metadata"]["name"] = f"{shared.token}-renamed"
    edited.write_text("old", json.dumps(text))
    steps = {one.contract: one for one in planned(shared, edited.path).steps}
    giving, taking = steps[old.contract], steps[f"{shared.token}-renamed"]
    assert (giving.action, taking.action) == (Action.STOPS, Action.BEGINS)
    assert giving.given == dict.fromkeys(taking.taken, taking.contract) and giving.diff is None
    assert giving.notes == [f"no key goes; `syncd remove {old.contract}` clears its dead letters and records"]
    assert giving.as_dict()["paused"]["why"] == "we move"
    assert str(taking.diff.verdict) == "patch"
    assert not any("belongs to contract" in one.what for one in taking.findings)
    said = syncd("plan", edited.path, **env).stdout
    assert f"  takes over `{old.names.prefix('card')}{{_id}}` from contract {old.contract}\n" in said, said
    assert syncd("resume", old.contract, **env).returncode == 0
    with closing(RedisStore(shared.reach["redis_url"])) as store:
        assert old.contract in contracts_beside(store, [], place_of(shared.contracts.path))


def test_what_cannot_run_is_refused(shared: Scene, tmp_path: Path) -> None:
    """By the same checks as `check --connect`, beside what data shows; and with the exit code of an error."""
    shared.mongo[shared.token].create_collection("seen", viewOn="nothing", pipeline=[])
    edited = ContractDirectory(tmp_path / "edited", shared.token)
    edited.write("view", CARD, collection=f"{shared.token}.seen")
    edited.write("empty", CARD, filter={"title": "no such film"})
    shared.mongo[shared.token]["empty"].insert_many(DOCUMENTS[:3])
    steps = {one.contract.removeprefix(f"{shared.token}-"): one for one in planned(shared, edited.path).steps}
    assert (steps["view"].action, steps["empty"].action) == (Action.REFUSED, Action.BEGINS)
    assert any("a view" in finding.what for finding in steps["view"].findings)
    assert any("matches no document" in finding.what for finding in steps["empty"].findings)
    env = {f"SYNCD_{name.upper()}": value for name, value in shared.reach.items()}
    assert syncd("plan", edited.path, "--exit-code", "-o", "json", **env).returncode == 1


def test_keys_of_an_application_are_none_that_go(shared: Scene, tmp_path: Path) -> None:
    """They stay, so that a copy over them does not stop, and their memory is not given back."""
    edited = ContractDirectory(tmp_path / "edited", shared.token)
    names = edited.write("late", CARD)
    shared.mongo[names.database][names.collection].insert_many(DOCUMENTS[:3])
    for n in range(150):
        shared.redis.hset(f"{names.prefix('card')}{n}", "title", "an application's" * 9)
    found = next(one for one in planned(shared, edited.path).steps if one.contract == names.contract)
    assert (found.action, found.notes) == (Action.BEGINS, [])
    assert any("150 keys under" in one.what for one in found.findings)
    assert found.copy is not None and found.memory == found.copy.memory


def test_a_plan_writes_nothing(shared: Scene, tmp_path: Path) -> None:
    """Neither records nor functions, also of a contract that never ran."""
    edited = ContractDirectory(tmp_path / "edited", shared.token)
    names = edited.write("unseen", CARD, PAGE)
    shared.mongo[names.database][names.collection].insert_many(DOCUMENTS[:3])
    assert {one.contract: one.action for one in planned(shared, edited.path).steps}[
        names.contract
    ] is Action.BEGINS
    assert not list(shared.redis.scan_iter(f"*{names.contract}*"))
    assert not list(shared.redis.scan_iter(f"{shared.token}:unseen:*"))

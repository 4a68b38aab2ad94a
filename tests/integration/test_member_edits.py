"""Contracts whose documents are members of shared keys, edited while they run: what was goes, member by member."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection, said
from tests.support.scene import Flow, Scene
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, found, members_of, player, wait_members


@pytest.fixture
def scene(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


OF_ID = {**BOARD, "key": "{_id}", "member": "{game}"}
EDITS: dict[str, dict[str, Any]] = {
    "another key": {**BOARD, "key": "{game}:{kind}"},
    "another member": {**BOARD, "member": "p:{_id}"},
    "a set": {**TAGS, "projection": "board", "key": "{game}"},
    "a geo set": {**NEAR, "projection": "board"},
    "vectors": {**RECALL, "projection": "board"},
    "vectors otherwise": {
        **RECALL,
        "projection": "board",
        "quantisation": "int8",
        "vector": {"from": "w", "dims": 2},
    },
    "a board again": BOARD,
    "a key a document": OF_ID,
    "a hash a document": projection(["kind"], name="board"),
    "a key a document again": OF_ID,
    "tags": {**TAGS, "projection": "board"},
}


def test_edits_of_a_projection(scene: Scene) -> None:
    """no_ghosts: whatever of a projection is edited, its key, its member, its type, how vectors are held: what was is
    gone, and documents are members of what the contract says now."""
    documents = [player(number, w=[1.0, 1.0]) for number in range(40)]
    flow = scene.run("edits", BOARD, documents=documents)
    wait_members(flow)
    for name, shape in EDITS.items():
        before = len(scene.daemon.logs(event="snapshot finished", contract=flow.contract))
        flow.write(shape)
        wait_until(
            lambda before=before: (  # type: ignore[misc]
                len(scene.daemon.logs(event="snapshot finished", contract=flow.contract)) > before
            ),
            60,
            lambda name=name: f"{name}: {flow.lane()}",  # type: ignore[misc]
        )
        flow.wait_live()
        if shape["type"] == "hash":
            flow.assert_same()
        else:
            wait_members(flow)
        assert not flow.dead_letters(), name
    wanted = f"members:board:{flow.names.prefix('board')}{{tags[]}}"
    kept = [key.decode() for key in scene.redis.scan_iter(f"{flow.names.control('members:')}*", count=1000)]
    assert kept == [flow.names.control(wanted)]


def test_a_contract_that_is_ahead_of_its_vectors(scene: Scene) -> None:
    """nothing_lost: the contract says another length of vectors before documents have such vectors; each document is a
    member again as soon as it has one."""
    flow = scene.run("ahead", RECALL, documents=[player(number) for number in range(20)])
    wait_members(flow)
    flow.write({**RECALL, "vector": {"from": "v", "dims": 2}})
    _wait_copies(scene, flow, 2)
    assert {one["reason"] for one in flow.dead_letters()} == {"vector_length"}
    flow.collection.update_many({}, {"$set": {"v": [1.0, 2.0]}})
    wait_members(flow)
    ran = syncd("deadletters", "replay", flow.contract, "--all", **_env(scene))
    assert "20 written, 0 still failing" in ran.stdout, ran
    wait_members(flow)


def test_projections_that_move(scene: Scene) -> None:
    """nothing_lost, no_ghosts: a projection gets another name, goes to another contract, and goes: its members stay as
    long as a contract has the keys, and go with the last one, but for what an application has in a key of its own."""
    documents = [player(number) for number in range(40)]
    scene.redis.sadd(f"{scene.token}:one:tags:b", "app")
    flow = scene.run("one", BOARD, TAGS, documents=documents)
    text = scene.contracts.file("one").read_text()
    scene.contracts.write_text("one", text.replace('"projection": "tags"', '"projection": "labels"'))
    _wait_copies(scene, flow, 2)
    two = {**TAGS, "projection": "by-tag", "key": flow.key("{tags[]}", "tags")}
    name = f"{scene.token}-two"
    scene.contracts.write_text("two", json.dumps(said(two, name=name, collection=flow.collection.full_name)))
    flow.write(BOARD)
    _wait_copies(scene, flow, 3)
    wait_until(lambda: scene.redis.exists(f"syncd:{{{name}}}:members:by-tag:{two['key']}"), 60)
    flow.collection.update_one({"_id": 1}, {"$set": {"tags": ["c"]}})
    flow.collection.delete_one({"_id": 2})
    everyone = {str(number): None for number in range(40) if number != 2}
    tags = {"a": {**everyone}, "b": {**everyone, "app": None}, "c": {"1": None}}
    del tags["a"]["1"], tags["b"]["1"]
    wait_until(lambda: found(scene.redis, flow.names.prefix("tags"), "set") == tags, 60, scene.daemon.status)
    scene.contracts.remove("two")
    wait_until(lambda: len(scene.daemon.status()["lanes"]) == 1, 60)
    wait_until(lambda: json.loads(syncd("orphans", "-o", "json", **_env(scene)).stdout), 60)
    shown = syncd("remove", name, "--keys", "--yes", **_env(scene))
    assert "77 members" in shown.stdout, shown
    assert found(scene.redis, flow.names.prefix("tags"), "set") == {"b": {"app": None}}
    assert len(members_of(flow, "board")["chess"]) == 39


def _env(scene: Scene) -> dict[str, str]:
    return {"SYNCD_REDIS_URL": scene.reach["redis_url"], "SYNCD_MONGO_URI": scene.reach["mongo_uri"]}


def _wait_copies(scene: Scene, flow: Flow, count: int) -> None:
    wait_until(lambda: len(scene.daemon.logs(event="snapshot finished", contract=flow.contract)) >= count, 60)
    flow.wait_live()

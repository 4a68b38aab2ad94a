"""`syncd deadletters`, `syncd status` and `syncd snapshot` beside a running daemon."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import typer

from syncd.cli.actions.deadletters import _wait_for_answer
from syncd.stores.redis.records.dead_letters import request_replay, requested_replays
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import Servers

WIDTH = {"from": "width", "type": "int"}


class Dead(NamedTuple):
    """A daemon, its one contract, and where their Redis is."""

    scene: Scene
    flow: Flow
    redis_url: str

    def ask(self, *words: str) -> tuple[int, str, str]:
        result = syncd(*words, SYNCD_REDIS_URL=self.redis_url)
        return result.returncode, result.stdout, result.stderr


@pytest.fixture(scope="module")
def dead(
    servers: Servers, mongo_uri: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dead]:
    """Two documents, of which one does not fit."""
    token = f"t{secrets.token_hex(4)}"
    documents = [{"_id": 1, "width": 3}, {"_id": 2, "width": "wide"}]
    with Scene(tmp_path_factory.mktemp("dead"), token, mongo_uri, redis_url) as scene:
        yield Dead(scene, scene.run("dead", projection({"width": WIDTH}), documents=documents), redis_url)
    servers.forget(token)


def test_list_and_show_tell_what_is_wrong_without_values(dead: Dead) -> None:
    """A dead letter names the document, the field and the reason, and holds no value."""
    flow = dead.flow
    code, out, _ = dead.ask("deadletters", "list", flow.contract, "-o", "json")
    (dead_letter,) = json.loads(out)
    assert (code, dead_letter["reason"], dead_letter["id"]) == (1, "cannot_convert", "2")
    assert "width" in dead_letter["detail"]
    assert "wide" not in out
    code, out, _ = dead.ask(
        "deadletters", "list", "--reason", "cannot_convert", "--field", "width", "--limit", "1"
    )
    assert code == 1 and f"cannot_convert, field width, projection card, contract {flow.contract}" in out
    assert dead.ask("deadletters", "list", flow.contract, "--field", "height") == (0, "", "")
    code, out, _ = dead.ask("deadletters", "show", flow.contract, dead_letter["entry"])
    assert code == 0
    assert json.loads(out)["change"] == {"op": "snapshot", "id": 2, "time": json.loads(out)["change"]["time"]}


def test_replay_waits_as_long_as_dead_letters_are_answered(
    token: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--wait` is for one answer: a lane that takes longer for thousands of dead letters is not given up while it
    works, and one that does nothing is."""
    store, now = RedisStore(redis_url), [0.0]
    requested = [f"{number}-0" for number in range(1, 21)]
    request_replay(store, token, requested)

    def sleep(_: float) -> None:
        now[0] += 20
        if now[0] < 300:
            store.client.lpop(ControlKeys(token).replay)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr("syncd.cli.actions.deadletters.time", clock)
    with pytest.raises(typer.Exit):
        _wait_for_answer(store, token, [], 30.0)
    assert (now[0], len(requested_replays(store, token, 20))) == (320.0, 6)


def test_replay_reads_the_fixed_document_again(dead: Dead) -> None:
    """Replay keeps the dead letter of a document that still does not fit, and removes it once that is fixed."""
    flow = dead.flow
    code, out, _ = dead.ask("deadletters", "replay", flow.contract, "--all")
    assert code == 1
    assert "0 written, 1 still failing, 0 not found" in out
    flow.redis.delete(flow.key(2))
    flow.collection.update_one({"_id": 2}, {"$set": {"width": 7}})
    flow.wait_hash(2, {"width": "7"})
    flow.redis.delete(flow.key(2))  # so that only the replay can bring it
    code, _, err = dead.ask("deadletters", "replay", flow.contract, "--reason", "wrong_type")
    assert code == 1 and "is of this kind" in err
    code, _, err = dead.ask("deadletters", "drop", flow.contract, "--field", "height")
    assert code == 1 and "is of this kind" in err
    assert dead.ask("deadletters", "drop", flow.contract, "--all", "--field", "width")[0] == 2
    kind = ("--reason", "cannot_convert", "--field", "width", "--projection", "card")
    code, out, _ = dead.ask("deadletters", "replay", flow.contract, *kind)
    assert (code, out) == (0, "1 written, 0 still failing, 0 not found\n")
    assert flow.hash(2) == {"width": "7"}


def test_a_snapshot_on_request_copies_what_was_lost(dead: Dead) -> None:
    """`syncd snapshot` brings back keys that a person deleted, and removes those without a document."""
    flow = dead.flow
    flow.redis.delete(flow.key(1))
    flow.redis.hset(flow.key(77), "width", "1")
    assert dead.ask("snapshot", flow.contract)[0] == 0
    flow.wait_hash(1, {"width": "3"})
    flow.wait_gone(77)


def test_a_contract_that_never_ran_is_wrong_usage(dead: Dead) -> None:
    """A mistyped name is an error and leaves nothing behind."""
    flow = dead.flow
    for words in (["deadletters", "list"], ["deadletters", "drop", "--all"], ["snapshot"]):
        code, _, err = dead.ask(*words, f"{flow.contract}-typo")
        assert code == 2
        assert "has run on this Redis" in err
    assert not flow.redis.keys(f"syncd:{{{flow.contract}-typo}}*")


def test_status_reads_the_running_daemon(dead: Dead) -> None:
    """`syncd status` shows the lane, uncut in a pipe; without a daemon its exit code is 3."""
    flow = dead.flow
    flow.wait_live()
    address = dead.scene.daemon.url.removeprefix("http://")
    wait_until(lambda: syncd("status", "--http", address).returncode == 0, message="a ready daemon")
    out = syncd("status", "--http", address).stdout
    assert flow.contract in out
    assert flow.collection.full_name in out
    said = json.loads(syncd("status", "--http", address, "-o", "json").stdout)
    assert said["lanes"][0]["state"] == "live"
    assert syncd("status", "--http", "127.0.0.1:1").returncode == 3


def test_output_of_drop_counts(dead: Dead) -> None:
    """Dropping nothing says so."""
    flow = dead.flow
    assert dead.ask("deadletters", "drop", flow.contract, "--all")[1] == "dropped 0\n"

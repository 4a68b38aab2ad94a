"""Edits of the contract directory, as the daemon's reload takes or leaves them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from syncd.daemon.approvals import Approvals
from syncd.daemon.discovery import Discovery
from syncd.daemon.reload import Reloader, stamp
from syncd.daemon.supervisor import Runner
from syncd.settings import Settings
from syncd.stores.redis.store import RedisStore


class Broken:
    """A runner with a bug: it can compile nothing."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def compile(self, contracts: Iterable[Any]) -> list[Any]:
        raise KeyError(len(list(contracts)))

    def refuse(self, problems: list[str]) -> None:
        self.refused += problems


def test_an_edit_that_meets_a_bug_is_refused(tmp_path: Path) -> None:
    """It is not in force, so status and `syncd_contracts_valid` must not say that it is."""
    (tmp_path / "users.yaml").write_text(
        "apiVersion: syncd/v1\nkind: SyncContract\n"
        "metadata: {name: users, version: 1.0.0, owner: tests}\nmongo: {collection: shop.users}\n"
        'redis: [{projection: main, type: hash, key: "users:{_id}", fields: [name]}]\n'
    )
    runner = Broken()
    discovery = Discovery(Settings(mongo_uri="mongodb://localhost:1", redis_url="redis://localhost:1"), list)
    approvals = Approvals(lambda: RedisStore("redis://localhost:1"), {})
    Reloader(tmp_path, cast(Runner, runner), discovery, threading.Event(), {}, approvals).reload()
    discovery.close()
    (said,) = runner.refused
    assert "unexpected error" in said


def test_a_link_that_leads_nowhere_hides_no_edit(tmp_path: Path) -> None:
    """What is seen of the directory differs before and after an edit of a file beside it."""
    (tmp_path / "old.yaml").symlink_to(tmp_path / "gone.yaml")
    (tmp_path / "users.yaml").write_text("a")
    before = stamp(tmp_path)
    (tmp_path / "users.yaml").write_text("other")
    assert stamp(tmp_path) != before

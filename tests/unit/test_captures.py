"""Every capture of changes in Redis has a plan of its own kind, and a page that shows a contract of it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from syncd.contract.model.contract import Sync
from syncd.contract.read.load import load_contract_set
from syncd.plan.claims import BOTH, MONGO, claims_of
from syncd.plan.kinds import compile_any
from syncd.plan.to_redis.compile import Plan

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
CAPTURES = [name for part in get_args(Sync.model_fields["capture"].annotation) for name in get_args(part)]
CONTRACT = """\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: sessions, version: 1.0.0, owner: team}}
mongo: {{collection: shop.sessions}}
redis:
  - {{projection: session, type: {type}, key: "{key}", fields: {{user: user}}}}
sync: {{direction: redis_to_mongo, capture: {capture}}}
"""


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_capture_has_a_plan_and_claims(capture: str, tmp_path: Path) -> None:
    """A contract of it passes the checks, and is not compiled as one that copies documents to Redis."""
    shape = (
        {"type": "stream", "key": "session"}
        if capture == "append"
        else {"type": "hash", "key": "session:{_id}"}
    )
    file = tmp_path / "sessions.yaml"
    file.write_text(CONTRACT.format(capture=capture, **shape), encoding="utf-8")
    (loaded,) = load_contract_set(file, {}).contracts
    plan = compile_any(loaded.contract, None)
    assert not isinstance(plan, Plan)
    assert claims_of(plan).kind not in (MONGO, BOTH)


def test_a_capture_has_a_page() -> None:
    """A contract of each is in a how-to."""
    pages = [page.read_text(encoding="utf-8") for page in HOW_TO.glob("*.md")]
    shown = [
        name
        for name in CAPTURES
        if any(f"{{direction: redis_to_mongo, capture: {name}" in page for page in pages)
    ]
    assert shown == CAPTURES
    assert {"append", "outbox", "keyspace"} <= set(shown)

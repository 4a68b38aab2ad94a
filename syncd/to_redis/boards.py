"""Fills boards: sorted sets that hold so many members only, where one of them left and others were left out before.

Redis says which boards may lack members, see `stores/redis/lua/operations/boards.lua`. MongoDB says which documents
belong there, and these are repaired as any other document: read again, and written whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from syncd import telemetry
from syncd.errors import FatalError, ProjectionError, TransientError
from syncd.plan.keys.templates import parse_key
from syncd.plan.to_redis.change import Put
from syncd.plan.to_redis.member_shape import MemberShape
from syncd.plan.types import Memberships
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.reads.best import best
from syncd.stores.mongo.store import code_of, took_too_long
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import STREAM
from syncd.stores.redis.records.requests.repairs import MOST_WANTED, of_document, request_repairs
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.context import RunContext

MOST_AT_ONCE = 10
"""Boards: a lane has its own work to do."""
SPARE = 100
"""Documents that MongoDB is asked for beyond those that fit a board: some may be no members."""
AGAIN_S = 60.0
"""After this long a board is tried again of which MongoDB could not say what belongs there."""


class Boards:
    """Of one lane."""

    def __init__(self, run: RunContext, pipeline: Pipeline) -> None:
        lane = run.lane
        self._plan, self._store, self._control = lane.plan, lane.redis, lane.control
        self._lease, self._builder, self._pipeline = lane.lease, run.builder, pipeline
        self._shapes = {
            shape.name: shape for shape in lane.plan.shapes if isinstance(shape, MemberShape) and shape.keep
        }
        self._not_before = 0.0

    @property
    def are_elsewhere(self) -> bool:
        """Whether a node of a cluster may ask for some: the requests of a lane are those of the home."""
        return bool(self._shapes) and len(self._lease.parts) > 1

    def fill(self) -> None:
        """Have those documents written that some boards lack. While all is copied, the copy does so."""
        is_mine = self._control.partition.leads and self._pipeline.position.phase == STREAM
        if not is_mine or time.monotonic() < self._not_before:
            return
        for node, lease in zip(self._lease.nodes, self._lease.parts, strict=True):
            if not self._fill_all(node, lease):
                self._not_before = time.monotonic() + AGAIN_S
                return

    def _fill_all(self, node: RedisStore, lease: Lease) -> bool:
        """Those of one node. Returns whether MongoDB could say what belongs there."""
        with translated():
            if not self._shapes:  # of a contract before an edit
                node.client.delete(lease.keys.short)
                return True
            short: Any = node.client.srandmember(lease.keys.short, MOST_AT_ONCE)
        for entry in short:
            name, _, key = entry.decode().partition(" ")
            shape = self._shapes.get(name)
            values = parse_key(shape.template, key.encode()) if shape else None
            if shape is None or values is None:
                with translated():
                    node.client.srem(lease.keys.short, entry)
            elif not self._fill(node, lease, shape, key, values):
                return False
        return True

    def _fill(
        self, node: RedisStore, lease: Lease, shape: MemberShape, key: str, values: dict[str, Any]
    ) -> bool:
        """One of them. Returns whether MongoDB could say what belongs there."""
        _tell(lease, shape, key, "begin", "")
        try:
            idents, bar = self._wanted(shape, key, values)
        except (FatalError, TransientError) as error:
            if not (took_too_long(error) or is_about_document(code_of(error))):
                raise
            telemetry.board_not_filled(self._plan.name, shape.name, str(error))
            return False
        missing = _missing(node, key, idents)[:MOST_WANTED]
        request_repairs(self._store, self._plan.name, [of_document(ident) for ident in missing])
        _tell(lease, shape, key, "end", bar)
        telemetry.board_filled(self._plan.name, shape.name, len(missing))
        return True

    def _wanted(self, shape: MemberShape, key: str, values: dict[str, Any]) -> tuple[list[str], str]:
        """The documents that belong on a board, and the best score of those that do not."""
        assert shape.score_path is not None
        most, is_high, count = abs(shape.keep), shape.keep > 0, abs(shape.keep) + SPARE
        lookup, horizon = self._builder.lookup, self._builder.watermarks.horizon
        while True:
            found = best(lookup, self._plan, values, shape.score_path, count, highest=is_high, after=horizon)
            scores = _scores(shape, key, found.documents)
            if len(scores) > most or found.complete:
                break
            count *= 4
        order = sorted(scores, key=lambda ident: scores[ident], reverse=is_high)
        return order[:most], repr(scores[order[most]]) if len(order) > most else ""


def _tell(lease: Lease, shape: MemberShape, key: str, word: str, bar: str) -> None:
    map_of = lease.keys.members(shape.name, shape.template.text)
    lease.call("syncd_board", [], [map_of, shape.name, shape.keep, key, word, bar])


def _missing(node: RedisStore, key: str, idents: list[str]) -> list[str]:
    pipe = node.client.pipeline(transaction=False)
    for ident in idents:
        pipe.zscore(key, ident)
    with translated():
        found = pipe.execute()
    return [ident for ident, score in zip(idents, found, strict=True) if score is None]


def _scores(shape: MemberShape, key: str, documents: Mapping[str, Any]) -> dict[str, float]:
    """Of the documents that are members of this key."""
    scores = {}
    for ident, document in documents.items():
        try:
            put = shape.put(ident, document, "")
        except ProjectionError:
            continue
        content = put.content if isinstance(put, Put) else None
        if isinstance(content, Memberships) and (key, ident) in content.each():
            scores[ident] = float(content.values[0])
    return scores

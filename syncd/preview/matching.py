"""Who says which documents match a filter, in tests of contracts: the MongoDB of the settings, or an embedded one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from syncd.plan.stream_plan import StreamPlan
from syncd.preview.reading import matching
from syncd.stores.mongo.store import Document, MongoStore

DATABASE = "syncd_test"
"""Documents that are asked about are in no collection; MongoDB wants to know a database for the rights."""


class Matching:
    """Asks a MongoDB, which is connected to when it is needed first. Nothing is written there."""

    def __init__(self, find: Callable[[ExitStack], MongoStore | None]) -> None:
        """`find`: a MongoDB, which may be started by then; None where there is none."""
        self._find, self._stack = find, ExitStack()
        self._store: MongoStore | None = None
        self._known = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def ask(self, plan: StreamPlan, documents: Sequence[Document]) -> Mapping[str, Document] | None:
        """Those that match the filter, by ident; None where there is no MongoDB."""
        if not self._known:
            self._known, self._store = True, self._find(self._stack)
            if self._store is not None:
                self._stack.callback(self._store.close)
        return None if self._store is None else matching(self._store, DATABASE, plan, documents).found

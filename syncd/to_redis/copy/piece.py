"""A piece of a snapshot, as a worker does it in any process on any machine: read, and project.

A worker writes nothing. It needs no more than to read MongoDB, by the settings of its own environment.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from syncd import __version__
from syncd.contract.model.contract import Contract
from syncd.errors import SyncdError, TransientError
from syncd.executors.proof import same_mongo, same_plan
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.misfits import Misfit
from syncd.plan.partition import Partition
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.digest import SOURCE
from syncd.plan.to_redis.encoded_writes import pack
from syncd.plan.values.raw import encode
from syncd.settings import Settings
from syncd.stores.mongo.reads.joined import lookup_of
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.ranges import Range
from syncd.stores.mongo.store import MongoStore
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.uri import apart_from_login

MOST_OPEN = 8
"""Contracts that a worker keeps ready for the next piece."""


@dataclass(frozen=True)
class Piece:
    """The next documents of a range. What is logged of it are numbers."""

    number: int
    """Of the range."""
    documents: Range
    size: int
    """Documents at most."""
    after: Moment
    """To be read at or after it."""
    contract: Contract = field(repr=False)
    fingerprint: str
    mongo: str = field(repr=False)
    """Which MongoDB, see `proof`."""
    partition: Partition
    digests: bool
    version: str = __version__


class Made(NamedTuple):
    """The result of a piece. Errors come as text: not every one can be sent from process to process."""

    trouble: str = ""
    passes: bool = False
    """Whether it may pass by itself."""
    size: int = 0
    """Documents."""
    writes: bytes = b""
    """See `plan/to_redis/encoded_writes`."""
    sources: Mapping[str, tuple[int | None, int]] | None = None
    end: bytes = b""
    """{"_id": last} as BSON, of what was read; empty: the range has no more."""
    time: Moment = ZERO
    misfits: Mapping[Misfit, int] | None = None


def make(piece: Piece) -> Made:
    """Read and project. Connections stay open for the next piece."""
    try:
        plan, lookup = READERS.get(piece)
        cursor, last = piece.documents.bounds
        found, time, upto = lookup.step(cursor, piece.size, piece.after, last, digests=piece.digests)
    except SyncdError as error:
        return Made(f"{socket.gethostname()}: {error}", isinstance(error, TransientError))
    if not found:
        return Made(time=time, end=encode({"_id": upto["_id"]}) if upto is not None else b"")
    documents = {encode_key_value(document["_id"]): document for document in found}
    sources = (
        {ident: document.pop(SOURCE) for ident, document in documents.items() if SOURCE in document}
        if piece.digests
        else None
    )
    end = encode({"_id": found[-1]["_id"]})
    packed = pack(plan, documents, time)
    return Made("", False, len(found), packed, sources, end, time, plan.misfits.taken())


class Readers:
    """Plans, and what reads for them, of this process. Thread-safe: a Dask worker may have many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[str, MongoStore] = {}
        self._open: dict[tuple[object, ...], tuple[Plan, Lookup]] = {}

    def get(self, piece: Piece) -> tuple[Plan, Lookup]:
        """Raises SyncdError where this is not the right worker."""
        settings = Settings.from_environment()
        uri = apart_from_login(settings.mongo_uri.get_secret_value())
        key = (uri, piece.mongo, piece.contract.name, piece.fingerprint, piece.partition, piece.version)
        with self._lock:
            if key not in self._open:
                plan = same_plan(piece.contract, piece.fingerprint, piece.version, settings)
                if uri not in self._stores:
                    self._stores[uri] = MongoStore.of(settings)
                store = self._stores[uri]
                same_mongo(store, piece.mongo)
                while len(self._open) >= MOST_OPEN:
                    del self._open[next(iter(self._open))]
                self._open[key] = plan, lookup_of(store, plan, piece.partition)
            return self._open[key]

    def close(self) -> None:
        """Give up all connections."""
        for store in self._stores.values():
            store.close()


READERS = Readers()

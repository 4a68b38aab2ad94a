"""Where the time of a change goes: `python -m benchmarks.stages`. CPU of each stage alone, in microseconds a change.

Replies of MongoDB are fetched once and then taken through every stage of a lane, one after the other, in one thread.
CPU time is counted, and the least of several passes, so that other work on the machine matters little. mongod's and
Redis's share is the CPU of their processes.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import hiredis
import psutil  # type: ignore[import-untyped,unused-ignore]
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from benchmarks.measured.resp import Resp
from benchmarks.measured.servers import Servers, servers
from benchmarks.measured.workload import COLLECTION, DATABASE, PLAIN, Document
from benchmarks.measured.writer import insert, update_all
from syncd.contract.read.load import load_contract_set
from syncd.plan.claims import claims_of
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.values.codec import CODEC
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import MongoStore
from syncd.stores.mongo.times import token_time
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.apply.apply_log import Call
from syncd.to_redis.apply.calls.operations import Operations
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.units import Unit, WindowUnit
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.copy.copier import Chunk
from syncd.to_redis.copy.units import SliceUnit
from syncd.to_redis.stream.window import Window

DOCUMENTS = 50_000
REPLY = 2_000
CALL = 256
PASSES = 5
RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
SOME_TIME = "0" * 15 + "1"


def main() -> None:
    """Print one line a kind of work."""
    gc.disable()  # as good as the daemon does, see cli/run.py
    print("| us a change, CPU | mongod | decode | build | encode | pack | Redis |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with servers() as running, MongoClient[Document](running.mongo_uri) as client:
        running.reset()
        plan, source = _plan(), client[DATABASE]
        beginning = _now(source)
        insert(running.mongo_uri, 0, DOCUMENTS, PLAIN)
        _show("snapshot", running, plan, lambda: _found(source))
        filled = _now(source)
        update_all(running.mongo_uri, DOCUMENTS, (2,), PLAIN)
        _show("updates", running, plan, lambda: _drained(source, plan, filled))
        with Resp(running.redis_url) as redis:
            redis.call("FLUSHALL")
        _show("inserts", running, plan, lambda: _drained(source, plan, beginning))


def _plan() -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench.yaml").write_text(PLAIN.contract())
        return compile_contract(load_contract_set(Path(folder), os.environ).contracts[0].contract)


def _now(source: Any) -> Any:
    with source[COLLECTION].watch() as stream:
        stream.try_next()
        return stream.resume_token


def _found(source: Any) -> list[bytes]:
    find = {"find": COLLECTION, "sort": {"_id": 1}, "limit": REPLY, "batchSize": REPLY, "singleBatch": True}
    return [
        source.command({**find, "filter": {"_id": {"$gte": start}}}, codec_options=RAW).raw
        for start in range(0, DOCUMENTS, REPLY)
    ]


def _drained(source: Any, plan: Plan, token: Any) -> list[bytes]:
    pipeline = [{"$changeStream": {"startAfter": token}}, {"$project": plan.event_projection()}]
    opened = source.command(
        {"aggregate": COLLECTION, "pipeline": pipeline, "cursor": {"batchSize": REPLY}}, codec_options=RAW
    )
    more = {"getMore": opened["cursor"]["id"], "collection": COLLECTION, "batchSize": REPLY}
    replies = [opened.raw]
    while len(replies) < DOCUMENTS // REPLY:
        replies.append(source.command(more, codec_options=RAW).raw)
    return replies


def _show(name: str, running: Servers, plan: Plan, fetch: Callable[[], list[bytes]]) -> None:
    mongod = psutil.Process(running.mongo_pid)
    before = _cpu(mongod)
    replies = fetch()
    fetched = (_cpu(mongod) - before) / DOCUMENTS
    decode, batches = _least(lambda: [_batch(bson.decode(reply, CODEC)) for reply in replies])
    build, built = _least(lambda: [(unit, unit.build(Call(unit))) for unit in _units(plan, batches)])
    encode, calls = _least(lambda: [_encoded(plan, draft.writes) for _, draft in built])
    store = RedisStore(running.redis_url)
    store.connect()
    control = ControlKeys(plan.name)
    lease = Lease(store, control, "bench/0/0/0", 600.0, claims_of(plan))
    lease.acquire()
    pack, packed = _least(lambda: [_packed(store, control, lease, operations) for operations in calls])
    redis = psutil.Process(int(store.client.info()["process_id"]))
    before = _cpu(redis)
    with Resp(running.redis_url) as wire:
        for command in packed:
            wire.send(command)
            reply = wire.replies(1)[0]
            assert reply[0] == b"ok", reply[:3]
    applied = (_cpu(redis) - before) / DOCUMENTS
    figures = (fetched, *(seconds / DOCUMENTS for seconds in (decode, build, encode, pack)), applied)
    print(f"| {name} | " + " | ".join(f"{figure * 1e6:.2f}" for figure in figures) + " |", flush=True)
    store.client.delete(control.lease)
    store.close()


def _batch(reply: Any) -> list[Document]:
    cursor = reply["cursor"]
    found: list[Document] = cursor["firstBatch"] if "firstBatch" in cursor else cursor["nextBatch"]
    return found


def _units(plan: Plan, batches: list[list[Document]]) -> list[Unit]:
    watermarks = Watermarks()
    builder = KeyBuilder(plan, Lookup(MongoStore("mongodb://127.0.0.1:1"), plan), watermarks)
    units: list[Unit] = []
    for batch in batches:
        for part in (batch[at : at + CALL] for at in range(0, len(batch), CALL)):
            if "operationType" in part[0]:
                last = part[-1]["_id"]
                units.append(WindowUnit(Window(part, last, token_time(last)), builder))
            else:
                units.append(SliceUnit(builder, part, Chunk(part, SOME_TIME)))
    return units


def _encoded(plan: Plan, writes: Any) -> Operations:
    operations = Operations(ControlKeys(plan.name), plan.name, "1")
    for write in writes:
        operations.add(write)
    return operations


def _packed(store: RedisStore, control: ControlKeys, lease: Lease, operations: Operations) -> bytes:
    fields = Position(token={"_data": "82" + SOME_TIME}).encoded()
    keys = [control.lease, control.position, control.dead, control.stale, *operations.keys]
    args = [lease.value, lease.ttl_ms, "", operations.rows(), "0", len(fields), *fields, *operations.args]
    packed: bytes = hiredis.pack_command(tuple(store.functions.command("syncd_apply", keys, args)))
    return packed


def _least(work: Callable[[], Any]) -> tuple[float, Any]:
    seconds, result = [], None
    for _ in range(PASSES):
        start = time.thread_time()
        result = work()
        seconds.append(time.thread_time() - start)
    return min(seconds), result


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()

"""Keys that Redis says have changed, while everything on the way breaks (promises 1, 6, 7, 8 and 9)."""

from __future__ import annotations

from tests.faults.conftest import Rig
from tests.support.outbox import add_outbox, hashes, wait_documents
from tests.support.scene import Flow

KEYSPACE = {"capture": "keyspace"}


def write(flow: Flow, ends, n: int) -> None:
    pipe = flow.redis.pipeline(transaction=False)
    for end in ends:
        pipe.hset(flow.key(end), mapping={"n": n, "text": f"version {n} of {end}"})
    pipe.execute()


def live(rig: Rig, short: str, **more) -> Flow:
    flow = add_outbox(rig.scene, short, sync=KEYSPACE, **more)
    rig.scene.start()
    flow.wait_live()
    return flow


def test_smoke(rig: Rig) -> None:
    flow = live(rig, "smoke")
    write(flow, range(300), 1)
    wait_documents(flow, hashes(flow))
    flow.redis.delete(flow.key(7), flow.key(8))
    wait_documents(flow, hashes(flow))
    rig.scene.daemon.kill()
    flow.redis.delete(flow.key(9))
    write(flow, range(100, 200), 2)
    rig.scene.daemon.start()
    wait_documents(flow, hashes(flow))
    print(rig.scene.daemon.process.log_tail())
    print(flow.lane())
    assert 0

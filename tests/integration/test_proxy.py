"""The proxy of the fault tests breaks connections exactly as it says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis as redis_driver
from pymongo import MongoClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.broken.proxy import Proxy
from tests.support.check import PATIENCE_S, wait_until


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as running:
        yield running


@pytest.fixture
def through(proxy: Proxy) -> Iterator[redis_driver.Redis]:
    """A client with one connection through the proxy, that gives up after 0.3 s and tries nothing twice."""
    no_retry = Retry(NoBackoff(), 0)
    with redis_driver.Redis.from_url(
        proxy.redis_url, retry=no_retry, socket_timeout=0.3, protocol=2
    ) as client:
        client.ping()
        yield client


def test_it_forwards_and_counts(proxy: Proxy, through: redis_driver.Redis, prefix: str) -> None:
    """Both directions, large values too."""
    value = b"x" * 1_000_000
    through.set(prefix, value)
    assert through.get(prefix) == value
    assert proxy.bytes_to_server > len(value)
    assert proxy.bytes_to_client > len(value)
    assert proxy.connections == 1


def test_cut_breaks_old_and_new_connections_until_restored(proxy: Proxy, through: redis_driver.Redis) -> None:
    """Both fail at once, not by a timeout."""
    proxy.cut()
    assert proxy.connections == 0
    for _ in range(2):
        with pytest.raises(redis_driver.ConnectionError):
            through.ping()
    proxy.restore()
    assert through.ping()


def test_delay_is_added_in_each_direction(proxy: Proxy, through: redis_driver.Redis) -> None:
    """0.1 s there and 0.1 s back."""
    proxy.delay(0.1)
    started = time.monotonic()
    through.ping()
    assert time.monotonic() - started >= 0.2


def test_half_open_applies_requests_and_loses_replies(
    proxy: Proxy, through: redis_driver.Redis, redis: redis_driver.Redis, prefix: str
) -> None:
    """The write is there, its client does not know."""
    proxy.half_open()
    with pytest.raises(redis_driver.TimeoutError):
        through.set(prefix, "1")
    assert redis.get(prefix) == b"1"
    proxy.restore()
    assert through.get(prefix) == b"1"


def test_a_blackhole_holds_bytes_until_restored(
    proxy: Proxy, through: redis_driver.Redis, redis: redis_driver.Redis, prefix: str
) -> None:
    """A request goes into it and arrives late, as after a lost route; its client gave up before."""
    proxy.blackhole()
    with pytest.raises(redis_driver.TimeoutError):
        through.set(prefix, "late")
    assert redis.get(prefix) is None
    proxy.restore()
    wait_until(lambda: redis.get(prefix) == b"late")


def test_close_after_next_request_applies_it_and_breaks(
    proxy: Proxy, through: redis_driver.Redis, redis: redis_driver.Redis, prefix: str
) -> None:
    """Only the request that was meant, only once; afterwards the client works again."""
    sprung = proxy.close_after_next_request(containing=b"the one")
    through.set(prefix, "another")
    assert not sprung.is_set()
    with pytest.raises(redis_driver.ConnectionError):
        through.set(prefix, "the one")
    assert sprung.wait(PATIENCE_S)
    assert redis.get(prefix) == b"the one"
    assert through.get(prefix) == b"the one"


def test_mongodb_goes_through_it_too(mongo_uri: str, database: str) -> None:
    """By the direct connection string, and is back after a cut."""
    port = int(mongo_uri.removeprefix("mongodb://127.0.0.1:").partition("/")[0])
    with Proxy(port) as proxy, MongoClient(proxy.mongo_uri, serverSelectionTimeoutMS=5000) as client:
        client[database].things.insert_one({"_id": 1})
        proxy.cut()
        proxy.restore()
        assert client[database].things.find_one() == {"_id": 1}
        assert proxy.bytes_to_server > 0


def test_a_request_that_is_held_arrives_when_it_is_released(
    proxy: Proxy, through: redis_driver.Redis, redis: redis_driver.Redis, prefix: str
) -> None:
    """The n-th one with all of the bytes, no other."""
    hold = proxy.hold_request(b"SET", prefix.encode(), nth=2)
    through.set(prefix, "1")
    through.get(prefix)
    assert not hold.arrived.is_set()
    with pytest.raises(redis_driver.TimeoutError):
        through.set(prefix, "2")
    assert hold.arrived.is_set()
    assert redis.get(prefix) == b"1"


def test_a_request_that_is_held_goes_with_its_client_or_its_release(
    proxy: Proxy, redis: redis_driver.Redis, prefix: str
) -> None:
    """What a client that has gone had sent never arrives; what a waiting one had sent does."""
    for value, waits in (("gone", False), ("kept", True)):
        hold = proxy.hold_request(value.encode())
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(f"SET {prefix} {value}\r\n".encode())
            hold.wait()
            if waits:
                hold.release()
                assert client.recv(100) == b"+OK\r\n"
        wait_until(lambda: proxy.connections == 0)
    assert redis.get(prefix) == b"kept"


def test_a_reply_that_is_held(proxy: Proxy, redis: redis_driver.Redis, prefix: str) -> None:
    """The server has acted; the client hears of it after the release, also by `restore`."""
    for release in ("release", "restore"):
        hold = proxy.hold_reply(b"SET", prefix.encode())
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(f"SET {prefix} {release}\r\n".encode())
            hold.wait()
            assert redis.get(prefix) == release.encode()
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(5)
            hold.release() if release == "release" else proxy.restore()
            assert client.recv(100) == b"+OK\r\n"

"""HTTP under attack: connections that say nothing, requests without an end, pages of others."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from syncd.embedded import LOOPBACK
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow, Scene

HALF_OPEN = 1_100
REQUEST_S = 10.0
"""What a request may take, of `syncd.ops.connections`."""


@pytest.fixture(scope="module")
def flow(shared: Scene) -> Flow:
    return shared.run("hard", projection(["title"]), documents=[{"_id": 1, "title": "x"}])


def connect(daemon: Daemon) -> socket.socket:
    port = urlsplit(daemon.url).port
    assert port
    return socket.create_connection((LOOPBACK, port), timeout=5)


def ask(
    daemon: Daemon, method: str = "GET", path: str = "/livez", **headers: str
) -> http.client.HTTPResponse:
    """With headers as given, `_` for `-`."""
    port = urlsplit(daemon.url).port
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.closing(connection):
        connection.request(
            method, path, headers={name.replace("_", "-"): said for name, said in headers.items()}
        )
        reply = connection.getresponse()
        reply.read()
        return reply


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """For this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(before[1], count)), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_flood_of_connections(shared: Scene, flow: Flow) -> None:
    """Of 1,100 connections that begin a request and do not end it few are kept; probes are answered at once all the
    time, a lane connects and works, and the log says it in a line."""
    daemon = shared.daemon
    log = daemon.process.log.stat().st_size
    held: list[socket.socket] = []
    with descriptors(HALF_OPEN + 500), contextlib.ExitStack() as stack:
        for at in range(HALF_OPEN):
            held.append(stack.enter_context(connect(daemon)))
            with contextlib.suppress(OSError):
                held[-1].sendall(b"" if at % 3 == 0 else b"GET /livez HTTP/1.1\r\nHost: a\r\nX-")
            if at % 100 == 0:
                began = time.monotonic()
                assert daemon.is_live()
                assert time.monotonic() - began < 3
        assert len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir())) < 450
        other = shared.add("other", projection(["title"]), documents=[{"_id": 1, "title": "y"}])
        other.wait_live()
        flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}})
        flow.wait_hash(1, {"title": "new"})
        assert daemon.is_live()
        shared.contracts.remove("other")
    assert daemon.process.log.stat().st_size - log < 20_000
    wait_until(shared.daemon.is_ready)


def test_requests_without_an_end(shared: Scene, flow: Flow) -> None:
    """Who sends a head, or a body, a byte now and then is cut off when the time of a request is over; so is who sends
    none at all, and a head without an end at once."""
    heads = [
        b"GET /livez HTTP/1.1\r\nHost: a\r\n",
        b"POST /reconcile/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
        b"POST /reconcile/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    ]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(shared.daemon)) for _ in heads]
        for one, head in zip(slow, heads, strict=True):
            one.sendall(head)
        large = stack.enter_context(connect(shared.daemon))
        with contextlib.suppress(OSError):
            large.sendall(b"GET /livez HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000)
        assert ended(large)
        began = time.monotonic()
        open_ones = list(slow)
        while open_ones and time.monotonic() - began < 3 * REQUEST_S:
            for one in open_ones[:]:
                trickle = b"" if one is slow[3] else b"a"
                if ended(one, trickle):
                    open_ones.remove(one)
            time.sleep(0.2)
        assert not open_ones
        assert shared.daemon.is_live()


def ended(connection: socket.socket, trickle: bytes = b"") -> bool:
    """Whether the other end has closed it."""
    connection.settimeout(0.05 if trickle else 0.5)
    try:
        if trickle:
            connection.sendall(trickle)
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize("path", ["/", "/status", "/livez", "/readyz", "/metrics", "/nothing"])
def test_what_every_answer_says_to_a_browser(shared: Scene, flow: Flow, path: str) -> None:
    """No frame, no guess at types, no referrer, no store, no script but that of the page itself, and no version."""
    reply = ask(shared.daemon, path=path)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Cache-Control"] == "no-store"
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["Server"] is None


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:9399", 200), ("10.2.3.4:9399", 200), ("[::1]:9399", 200), ("localhost:80", 200), ("syncd", 200),
        ("syncd.default.svc.cluster.local:9399", 200), (socket.gethostname(), 200), ("rebind.example.com", 421),
        ("rebind.example.com:9399", 421), ("localhost.example.com", 421), ("127.0.0.1.example.com", 421),
        ("rebind.example.com.", 421), ("a@127.0.0.1.evil.com", 421),
    ],
)  # fmt: skip
def test_names_of_others(shared: Scene, flow: Flow, host: str, code: int) -> None:
    """Addresses and names of a private network are answered; a public name, which its owner may point here, is not."""
    assert ask(shared.daemon, Host=host).status == code


def test_names_by_setting(scene: Scene) -> None:
    """Names that the setting lists are answered, others not."""
    scene.add("names", projection(["title"]))
    daemon = scene.another_daemon(SYNCD_HTTP_HOSTS="syncd.example.com, other.example.com")
    daemon.start()
    assert ask(daemon, Host="syncd.example.com:443").status == 200
    assert ask(daemon, Host="www.example.com").status == 421


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 404), ({"Origin": "http://syncd:9399"}, 404), ({"Origin": "http://evil.example.com"}, 403),
        ({"Origin": "null"}, 403), ({"Sec_Fetch_Site": "cross-site"}, 403), ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer hush\xe9"}, 401),
    ],
)  # fmt: skip
def test_requests_of_other_pages(scene: Scene, headers: dict[str, str], code: int) -> None:
    """A page of another origin can have nothing done, though it had the token."""
    scene.add("post", projection(["title"]))
    daemon = scene.another_daemon(SYNCD_TOKEN="hush")
    daemon.start()
    said = {"Host": "syncd:9399", "Authorization": "Bearer hush", **headers}
    assert ask(daemon, "POST", "/reconcile/nothing", **said).status == code

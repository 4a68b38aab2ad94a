"""Probes, metrics and status over HTTP, from a thread of the daemon."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

import anyio
import anyio.to_thread
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncd import __version__
from syncd.daemon.supervisor import Runner, lane_name
from syncd.errors import SettingsError
from syncd.ops.access import refused
from syncd.ops.api import PREFIX, check, routes
from syncd.ops.connections import KEEP_ALIVE_S, LARGEST_HEAD, Quiet, connection_class, most_connections
from syncd.ops.shield import Shield
from syncd.stores.redis.store import RedisStore

BACKLOG = 64
"""Connections that the kernel accepts before any of them is counted."""
PROBES = 8


def application(
    runner: Runner,
    store: Callable[[], RedisStore],
    token: str = "",
    hosts: Iterable[str] = (),
    console: Iterable[Route] = (),
) -> Starlette:
    """The pages: /metrics, /livez, /readyz, /status. With `token` also what changes something, see `api`. `store`: the
    Redis of the contracts. `hosts`: names of the daemon, see Shield. `console`: what people see.
    """
    # Threads of their own, so that other requests do not keep a probe from its answer.
    probes = anyio.CapacityLimiter(PROBES)

    def metrics(_: Request) -> Response:
        return Response(runner.metrics(), media_type=CONTENT_TYPE_LATEST)

    async def livez(_: Request) -> Response:
        alive = await anyio.to_thread.run_sync(lambda: runner.alive, limiter=probes)
        return JSONResponse({"alive": alive}, 200 if alive else 500)

    def readyz(_: Request) -> Response:
        said = runner.as_dict()
        waiting = {lane_name(lane): lane["complaint"] for lane in said["lanes"] if lane["complaint"]}
        waiting |= said["unknown"]
        return JSONResponse({"ready": said["ready"], "waiting_for": waiting}, 200 if said["ready"] else 503)

    def status(_: Request) -> Response:
        return JSONResponse({"version": __version__, **runner.as_dict()})

    def reconcile(request: Request) -> Response:
        if (answer := refused(request, token)) is not None:
            return answer
        contract, mode = request.path_params["contract"], request.query_params.get("mode")
        if mode not in (None, "report", "repair"):
            return JSONResponse({"error": "`mode` is report or repair"}, 400)
        status, said = check(runner, contract, mode)
        return JSONResponse(said, status)

    return Starlette(
        routes=[
            *routes(runner, store, lambda request: refused(request, token)),
            Route("/reconcile/{contract}", reconcile, methods=["POST"]),
            Route("/metrics", metrics),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/status", status),
            Route(f"{PREFIX}/status", status),
            *console,
        ],
        middleware=[Middleware(Shield, hosts)],
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class HttpServer:
    """Serves an application from a daemon thread. The address is bound at once, so a taken port is a clear error."""

    def __init__(self, app: Starlette, address: tuple[str, int]) -> None:
        host, port = address
        try:
            self._socket = socket.create_server(
                address, family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
            )
        except OSError as error:
            raise SettingsError(
                f"SYNCD_HTTP: cannot listen on {host}:{port} ({error.strerror}); choose another"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        Quiet().install()
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", loop="asyncio", ws="none",
                http=connection_class(most_connections()), backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S,
                h11_max_incomplete_event_size=LARGEST_HEAD, server_header=False, timeout_graceful_shutdown=2,
            )
        )  # fmt: skip
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(5)

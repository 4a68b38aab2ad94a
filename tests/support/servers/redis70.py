"""Finds a redis-server 7.0, the oldest release that syncd supports: no wheel carries it.

In this order: the environment's SYNCD_TEST_REDIS70, the PATH, Debian's package unpacked into `.cache/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from syncd.embedded.binaries import parse_ldd
from tests.support.programs.debian import run, unpack, unpacked
from tests.support.programs.needed import NotFound

CACHE = Path(__file__).parents[3] / ".cache" / "redis70"
LIBRARY_PACKAGES = {
    "libatomic.so.1": "libatomic1",
    "libjemalloc.so.2": "libjemalloc2",
    "liblua5.1-bitop.so.0": "lua-bitop",
    "liblua5.1-cjson.so.0": "lua-cjson",
    "liblua5.1.so.0": "liblua5.1-0",
    "liblzf.so.1": "liblzf1",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libsystemd.so.0": "libsystemd0",
}


class Redis70(NamedTuple):
    binary: Path
    env: dict[str, str]


def find() -> Redis70:
    tried = []
    for source in (_from_environment, _from_path, _from_cache, _from_debian):
        try:
            found = source()
            version = run([found.binary, "--version"], env=found.env)
            if " v=7.0." in version:
                return found
            tried.append(f"{found.binary} is {version.strip()}")
        except (NotFound, OSError, subprocess.SubprocessError) as error:
            tried.append(str(error))
    raise NotFound("no redis-server 7.0: set SYNCD_TEST_REDIS70 to one; tried: " + "; ".join(tried))


def _from_environment() -> Redis70:
    path = os.environ.get("SYNCD_TEST_REDIS70")
    if not path:
        raise NotFound("SYNCD_TEST_REDIS70 is not set")
    return Redis70(Path(path), {})


def _from_path() -> Redis70:
    path = shutil.which("redis-server")
    if path is None:
        raise NotFound("no redis-server on the PATH")
    return Redis70(Path(path), {})


def _from_cache() -> Redis70:
    found = _unpacked(CACHE)
    if not found.binary.exists():
        raise NotFound("nothing unpacked earlier")
    return found


def _from_debian() -> Redis70:
    return _unpacked(unpacked(CACHE, ["redis-server", "redis-tools"], finish=_unpack_libraries))


def _unpack_libraries(root: Path) -> None:
    found = _unpacked(root)
    missing = parse_ldd(run(["ldd", found.binary], env=found.env))
    unknown = [name for name in missing if name not in LIBRARY_PACKAGES]
    if unknown:
        raise NotFound(f"no package known for {', '.join(unknown)}")
    unpack(root, sorted({LIBRARY_PACKAGES[name] for name in missing}))


def _unpacked(root: Path) -> Redis70:
    folders = [root / "usr/lib/x86_64-linux-gnu", root / "lib/x86_64-linux-gnu"]
    return Redis70(root / "usr/bin/redis-server", {"LD_LIBRARY_PATH": ":".join(map(str, folders))})

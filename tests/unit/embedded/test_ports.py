"""Reserved ports."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from syncd.embedded import ports
from syncd.embedded.ports import LOOPBACK, Port
from syncd.errors import PlatformError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def one_port_only(monkeypatch: pytest.MonkeyPatch) -> int:
    """Makes chance choose the same free port every time."""
    port = Port()
    port.release()
    monkeypatch.setattr("random.randrange", lambda low, high: port.number)
    return port.number


def test_no_two_are_equal() -> None:
    """While both are held, in one process."""
    held = [Port() for _ in range(200)]
    assert len({port.number for port in held}) == 200
    for port in held:
        port.release()


def test_a_bare_number_stays_reserved(one_port_only: int) -> None:
    """Until the process ends: no caller has to hold on to anything."""
    assert ports.free_port() == one_port_only
    with pytest.raises(PlatformError, match="no free port"):
        Port()


def test_it_is_not_one_of_the_outgoing_range() -> None:
    """Else a client's outgoing connection could take it while its server restarts."""
    first, last = map(int, ports.OUTGOING_RANGE.read_text().split())
    port = Port()
    assert not first <= port.number <= last
    port.release()


def test_a_server_can_bind_it_and_others_then_cannot_reserve_it(one_port_only: int) -> None:
    """A foreign listener counts as taken."""
    with socket.create_server((LOOPBACK, one_port_only)), pytest.raises(PlatformError, match="no free port"):
        Port()


def test_a_reservation_holds_against_other_processes(one_port_only: int) -> None:
    """Although nothing listens yet; and ends when it is released."""
    port = Port()
    other = f"import random; random.randrange = lambda a, b: {one_port_only}\n"
    other += "from syncd.embedded.ports import Port; Port()"
    command = [sys.executable, "-c", other]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no free port" in refused.stderr
    port.release()
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0

"""What tests need beside the packages of their environment."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


class NotFound(Exception):
    """A program is not here, and cannot be had; says what was tried."""


def give_up(error: NotFound) -> NoReturn:
    """Skip the test that needs it; in CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))

"""What every verb shares: exit codes, and the `-o` option."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

DONE = 0
DIFFERENCE = 1
"""Found a difference, or a check failed."""
USAGE = 2
UNREACHABLE = 3
"""Cannot connect."""

Output: TypeAlias = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json")]

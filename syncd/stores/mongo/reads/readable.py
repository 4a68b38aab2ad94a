"""What a look-up has to know of what it reads."""

from __future__ import annotations

from typing import Any, Protocol


class Readable(Protocol):
    """Which documents, and what of them: a plan says it, or part of one."""

    @property
    def namespace(self) -> tuple[str, str]:
        """Database and collection."""

    @property
    def filter(self) -> Any:
        """A query that documents match; None for all."""

    @property
    def find_projection(self) -> Any:
        """For `find`; None for whole documents."""

    @property
    def source(self) -> Any:
        """MongoDB's expression for the digest of a document; None where there are no digests."""

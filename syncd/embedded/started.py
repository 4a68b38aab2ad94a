"""What is started and ended by a `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Started(ABC):
    """One server, or several. Where the start fails nothing is left behind."""

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it answers."""

    @abstractmethod
    def close(self) -> None:
        """End it permanently."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # also KeyboardInterrupt: directories and ports go too
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

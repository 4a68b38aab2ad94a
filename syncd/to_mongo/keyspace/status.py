"""What a lane over keyspace events reports about itself."""

from __future__ import annotations

from typing import Any

from syncd.to_mongo.outbox.status import OutboxStatus


class KeyspaceStatus(OutboxStatus):
    """State of one lane that listens. What waits is in its own memory: no other daemon knows it."""

    def _more(self) -> dict[str, Any]:
        phase = "compare" if self.state == "catching_up" else "stream"
        return {**super()._more(), "stream": "keyspace", "snapshot": {"phase": phase, "copied": self.copied}}

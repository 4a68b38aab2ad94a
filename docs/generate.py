"""Writes `docs/reference/` and `docs/faults.md` from the code that they describe.

`python docs/generate.py` writes what is stale; with `--check` it writes nothing and exits with 1 when something is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from generator.api import openapi
from generator.cli import cli_page
from generator.contract import contract_page
from generator.faults import faults_page
from generator.metrics import metrics_page
from generator.servers import servers_page
from generator.settings import settings_page

from syncd.contract.model.schema import contract_schema
from syncd.plan.values.table.type_table import markdown as types_page

DOCS = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Write the pages, or only compare them. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [name for name, text in pages().items() if not _is_current(DOCS / name, text)]
    if arguments:
        sys.stderr.write("".join(f"stale: {name}; run python docs/generate.py\n" for name in stale))
        return 1 if stale else 0
    (DOCS / "reference").mkdir(exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        sys.stderr.write(f"wrote {name}\n")
    return 0


def pages() -> dict[str, str]:
    """Every page by its path in `docs/`."""
    return {
        "reference/contract.md": contract_page(),
        "reference/contract.schema.json": json.dumps(contract_schema(), indent=2, ensure_ascii=False) + "\n",
        "reference/openapi.json": json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n",
        "reference/settings.md": settings_page(),
        "reference/metrics.md": metrics_page(),
        "reference/cli.md": cli_page(),
        "reference/types.md": types_page(),
        "reference/servers.md": servers_page(),
        "faults.md": faults_page(),
    }


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

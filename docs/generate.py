"""Writes `docs/reference/` from the code that it describes.

`python docs/generate.py` writes what is stale; with `--check` it writes nothing and exits with 1 when something is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from generator.cli import cli_page
from generator.contract import contract_page
from generator.metrics import metrics_page
from generator.settings import settings_page

from syncd.contract.schema import contract_schema
from syncd.plan.typetable import markdown as types_page

REFERENCE = Path(__file__).parent / "reference"


def main(arguments: list[str]) -> int:
    """Write the pages, or only look. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [name for name, text in pages().items() if not _is_current(REFERENCE / name, text)]
    if arguments:
        sys.stderr.write("".join(f"stale: {name}; run python docs/generate.py\n" for name in stale))
        return 1 if stale else 0
    REFERENCE.mkdir(exist_ok=True)
    for name in stale:
        (REFERENCE / name).write_text(pages()[name], encoding="utf-8")
        sys.stderr.write(f"wrote {name}\n")
    return 0


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {
        "contract.md": contract_page(),
        "contract.schema.json": json.dumps(contract_schema(), indent=2, ensure_ascii=False) + "\n",
        "settings.md": settings_page(),
        "metrics.md": metrics_page(),
        "cli.md": cli_page(),
        "types.md": types_page(),
    }


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

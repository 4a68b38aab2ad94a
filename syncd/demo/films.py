"""The films of `bokeh-sampledata` (table omdb, CC0) as documents, with embeddings by `wordllama`.

Neither needs a network: the data and the model's weights come inside the packages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bson.binary import Binary, BinaryVectorDtype

from syncd.errors import PlatformError

Embed = Callable[[list[str]], list[list[float]]]


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise PlatformError(f"the package {name} is missing; run: pip install 'syncd[demo]'")
    return Path(spec.origin).parent


def embedder() -> Embed:
    """A function from texts to unit vectors of 256 dimensions."""
    cache = _package("wordllama")
    from wordllama import WordLlama  # noqa: PLC0415 - half a second to import

    model = WordLlama.load(cache_dir=cache, disable_download=True)

    def embed(texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = model.embed(texts, norm=True).tolist()
        return vectors

    return embed


def films(embed: Embed) -> Iterator[dict[str, Any]]:
    """Every film as a document: `_id` is the number in the table, `embedding` a BSON vector of float32."""
    path = _package("bokeh_sampledata") / "_data" / "movies.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM omdb ORDER BY ID")
        for batch in _batches(rows, 1000):
            documents = [_document(row) for row in batch]
            for document, vector in zip(documents, embed([describe(d) for d in documents]), strict=True):
                document["embedding"] = Binary.from_vector(vector, BinaryVectorDtype.FLOAT32)
                yield document


def _batches(rows: Iterable[sqlite3.Row], size: int) -> Iterator[list[sqlite3.Row]]:
    batch: list[sqlite3.Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _document(row: sqlite3.Row) -> dict[str, Any]:
    document: dict[str, Any] = {
        "_id": row["ID"],
        "imdb": row["imdbID"],
        "title": row["Title"],
        "release": {"year": row["Year"], "date": _date(row["Released"])},
        "genres": _names(row["Genre"]),
        "directors": _names(row["Director"]),
        "cast": _names(row["Cast"]),
        "countries": _names(row["Country"]),
        "languages": _names(row["Language"]),
        "minutes": row["Runtime"],
        "score": {"metacritic": row["Metacritic"], "oscars": row["Oscars"]},
        "status": "released",
    }
    return document


def _names(text: str | None) -> list[str]:
    return [name for part in (text or "").split(",") if (name := part.strip())]


def _date(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def describe(film: dict[str, Any]) -> str:
    """What is embedded: the table has no plots, so title, genres, directors and cast have to do."""
    parts = [film["title"] or "", *film["genres"], *film["directors"], *film["cast"][:3]]
    return ", ".join(parts)

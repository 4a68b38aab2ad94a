"""`contract.md`: from the JSON Schema, which is the models of contracts with their short forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from generator.text import code, head, table
from syncd.contract.model.schema import contract_schema

Schema: TypeAlias = dict[str, Any]

_CONTRACT_INTRO = """\
One file, one contract. The files are all `*.yaml` and `*.yml` of the directory that SYNCD_CONTRACTS names, without its
subdirectories and without `*.test.yaml`, which hold [tests](../how-to/test-a-contract.md).
[`contract.schema.json`](contract.schema.json) says the same to an editor; `syncd check` knows more than both, because
it also compares the parts of a contract, and contracts with each other.

- YAML 1.2: `NO` and `on` are text. Unknown keys, duplicate keys, anchors, aliases, tags and a second document are
  errors.
- `${VAR}` and `${VAR:-default}` in a value come from the environment of `syncd`; `$${` is a literal `${`. A
  contract may read `SYNCD_SITE`, what begins with `SYNCD_VAR_`, and the names in `SYNCD_CONTRACT_VARIABLES`: no other
  variable, because what it reads appears in keys, values and names of indexes. Messages show a value as it is
  written, with its variable.
- A duration is a number and a unit: `ms`, `s`, `m`, `h`, `d` or `w`, as in `30d` or `1.5h`.
- A path is names joined by dots, such as `release.year`. It walks into documents; through an array of documents it
  collects from each (`cast.name`), and a number picks one element (`cast.0.name`).
- `mongo.filter` may hold MongoDB's Extended JSON: `{$oid: ...}`, `{$date: ...}`, `{$numberDecimal: ...}` and others.

"""

# RedisVL's names for options of FT.CREATE. https://redis.io/docs/latest/commands/ft.create/ explains them.
_ATTRIBUTES = {
    "weight": "`WEIGHT`: factor of this field in the score.",
    "no_stem": "`NOSTEM`: index words as they are.",
    "withsuffixtrie": "`WITHSUFFIXTRIE`: faster search for suffixes and parts of words.",
    "phonetic_matcher": "`PHONETIC`: also match what sounds alike.",
    "sortable": "`SORTABLE`: keep the value at hand for SORTBY.",
    "unf": "`UNF`: sort by the value as it is, not in lower case.",
    "no_index": "`NOINDEX`: not searchable; of use with `sortable`.",
    "index_missing": "`INDEXMISSING`: documents without the field can be searched for (RediSearch 2.10).",
    "index_empty": "`INDEXEMPTY`: empty strings can be searched for (RediSearch 2.10).",
    "separator": "`SEPARATOR`: what stands between tags in one text.",
    "case_sensitive": "`CASESENSITIVE`: keep the case of tags.",
    "dims": "`DIM`: length of the vectors; the same as `dims` of the projected field.",
    "algorithm": "`flat` compares with every vector; `hnsw` is approximate and faster.",
    "distance_metric": "`DISTANCE_METRIC`.",
    "datatype": "`TYPE`: in a hash, the same as `datatype` of the projected field.",
    "initial_cap": "`INITIAL_CAP`: vectors to make room for at first.",
    "block_size": "`BLOCK_SIZE`: vectors a block; `flat` only.",
    "m": "`M`: neighbours a node; `hnsw` only.",
    "ef_construction": "`EF_CONSTRUCTION`: candidates while building; `hnsw` only.",
    "ef_runtime": "`EF_RUNTIME`: candidates while searching; `hnsw` only.",
    "epsilon": "`EPSILON`: width of range queries; `hnsw` only.",
}
_OTHERS = {
    "metadata": "Who owns the contract.",
    "mongo": "Where the documents live.",
    "sync": "Which way data flows.",
    "attrs": "Options of the index field, see below; a vector needs them.",
    "type": "Kind of index field.",
}


class _Section(NamedTuple):
    """A model, or several that differ in `type` alone, and where in a file its keys stand."""

    title: str
    models: tuple[str, ...]


def contract_page() -> str:
    """Every key of a contract."""
    schema = contract_schema()
    text = head("Contracts", "the models in `syncd/contract/`") + _CONTRACT_INTRO
    text += "## All keys\n\n```yaml\n" + "".join(_outline(schema, schema, "")) + "```\n"
    for section in _sections(schema, _Section("", ()), set()):
        models = [schema["$defs"][name] for name in section.models] or [schema]
        said = models[0].get("description", "") if len(models) == 1 else "One of these, by `type`."
        text += f"\n## {section.title or 'Top level'}\n\n{said}\n\n"
        text += table(("key", "type", "default", "description"), _key_rows(models))
    return text


def _sections(schema: Schema, section: _Section, seen: set[tuple[str, ...]]) -> Iterator[_Section]:
    """This one and all below it, in the order in which a file holds them, each once."""
    if section.models in seen:
        return
    seen.add(section.models)
    yield section
    for name in section.models or (None,):
        model = schema["$defs"][name] if name else schema
        kind = model["properties"].get("type", {}).get("const")
        for key, value in model["properties"].items():
            steps, models = _models_in(value)
            if models:
                path = ".".join(filter(None, (section.title.strip("`"), key))) + steps
                title = f"`{path}`" + (f" of `type: {kind}`" if len(section.models) > 1 else "")
                yield from _sections(schema, _Section(title, models), seen)


def _models_in(value: Schema) -> tuple[str, tuple[str, ...]]:
    """The models below a key, and what stands between the key and their own keys."""
    if "$ref" in value:
        return "", (value["$ref"].rpartition("/")[2],)
    if "items" in value:
        steps, models = _models_in(value["items"])
        return f"[]{steps}", models
    if isinstance(more := value.get("additionalProperties"), dict):
        steps, models = _models_in(more)
        return f".NAME{steps}", models
    found = [inner for part in _parts(value) if (inner := _models_in(part))[1]]
    return (found[0][0], tuple(name for _, models in found for name in models)) if found else ("", ())


def _parts(value: Schema) -> list[Schema]:
    return [*value.get("anyOf", ()), *value.get("oneOf", ())]


def _key_rows(models: list[Schema]) -> Iterator[tuple[str, ...]]:
    for key in models[0]["properties"]:
        values = [model["properties"][key] for model in models]
        required = all(key in model.get("required", ()) for model in models)
        types = ", ".join(dict.fromkeys(map(_type, values)))
        said = values[0].get("description") or (_ATTRIBUTES | _OTHERS).get(key, "")
        yield code(key), types, "required" if required else _default(values[0]), said


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or default in ([], "") or isinstance(default, dict):
        return ""
    return code(json.dumps(default).strip('"'))


def _type(value: Schema) -> str:
    """A type in words."""
    choices = [part for part in _parts(value) if not _is_side(part)]
    if choices:
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "$ref" in value:
        return "mapping"
    if "const" in value:
        return code(value["const"])
    if "enum" in value:
        return ", ".join(
            code(one) for one in value["enum"] if one is not None
        )  # YAML's null, beside the word
    return _plain_type(value)


def _is_side(value: Schema) -> bool:
    """null, which no file needs to say, and the variable that may stand for anything narrow."""
    return value.get("type") == "null" or value.get("pattern") == r"\$\{"


def _plain_type(value: Schema) -> str:
    if "type" not in value:
        return "anything"
    if value["type"] == "array":
        inner = _type(value["items"])
        return {"text": "list of names", "list of names": "list of lists of paths"}.get(
            inner, f"list of {inner}s"
        )
    names = {"string": "text", "boolean": "true or false", "object": "mapping"}
    name = (
        "duration"
        if "(ms|s|m|h|d|w)" in value.get("pattern", "")
        else names.get(value["type"], value["type"])
    )
    return name + _range(value)


def _range(value: Mapping[str, Any]) -> str:
    signs = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    words = [f"{word} {value[key]}" for key, word in signs.items() if key in value]
    return f", {' '.join(words)}" if words else ""


def _outline(model: Schema, schema: Schema, indent: str) -> Iterator[str]:
    """The keys as a file would hold them, required ones marked."""
    for key, value in model["properties"].items():
        steps, models = _models_in(value)
        comment = "   # required" if key in model.get("required", ()) else ""
        if key == "attrs":
            yield f"{indent}{key}:   # by type, see below\n"
            continue
        yield f"{indent}{key}:{comment}\n"
        deeper = indent + "  "
        if steps == ".NAME":
            yield f"{deeper}NAME:\n"
            deeper += "  "
        for name in models[:1]:
            lines = list(_outline(schema["$defs"][name], schema, deeper + "  " * (steps == "[]")))
            yield from [f"{deeper}- {lines[0].lstrip()}", *lines[1:]] if steps == "[]" else lines

"""Writes `docs/reference/` from the code that it describes.

`python docs/generate.py` writes what is stale; with `--check` it writes nothing and exits with 1 when something is.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_origin

import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from syncd import telemetry
from syncd.cli import app
from syncd.contract.schema import contract_schema
from syncd.plan.typetable import markdown as types_page
from syncd.settings import Settings

REFERENCE = Path(__file__).parent / "reference"
Schema: TypeAlias = dict[str, Any]

_GENERATED = "Written by `python docs/generate.py` from {source}; a test fails when the two differ.\n"


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


def _head(title: str, source: str) -> str:
    return f"# {title}\n\n{_GENERATED.format(source=source)}\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _code(value: Any) -> str:
    return f"`{value}`"


# --- contract.md: from the JSON Schema, which is the models with their short forms


_CONTRACT_INTRO = """\
One file, one contract. The files are all `*.yaml` and `*.yml` of the directory that SYNCD_CONTRACTS names, without its
subdirectories. [`contract.schema.json`](contract.schema.json) says the same to an editor; `syncd check` knows more
than both, for it also compares the parts of a contract, and contracts with each other.

- YAML 1.2: `NO` and `on` are text. Unknown keys, duplicate keys, anchors, aliases, tags and a second document are
  errors.
- `${VAR}` and `${VAR:-default}` in a value come from the environment of `syncd`; `$${` is a literal `${`.
- A duration is a number and a unit: `ms`, `s`, `m`, `h`, `d` or `w`, as in `30d` or `1.5h`.
- A path is names joined by dots, such as `release.year`. It walks into documents; through an array of documents it
  collects from each (`cast.name`), and a number picks one element (`cast.0.name`).
- `mongo.filter` may hold MongoDB's Extended JSON: `{$oid: ...}`, `{$date: ...}`, `{$numberDecimal: ...}` and their kin.

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
    "attrs": "Options of the index field, see below.",
    "type": "Kind of index field.",
}


class _Section(NamedTuple):
    """A model, or several that differ in `type` alone, and where in a file its keys stand."""

    title: str
    models: tuple[str, ...]


def contract_page() -> str:
    """Every key of a contract."""
    schema = contract_schema()
    text = _head("Contracts", "the models in `syncd/contract/model.py`") + _CONTRACT_INTRO
    text += "## All keys\n\n```yaml\n" + "".join(_outline(schema, schema, "")) + "```\n"
    for section in _sections(schema, _Section("", ()), set()):
        models = [schema["$defs"][name] for name in section.models] or [schema]
        said = models[0].get("description", "") if len(models) == 1 else "One of these, by `type`."
        text += f"\n## {section.title or 'Top level'}\n\n{said}\n\n"
        text += _table(("key", "type", "default", "description"), _key_rows(models))
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
        yield _code(key), types, "required" if required else _default(values[0]), said


def _default(value: Schema) -> str:
    default = value.get("default")
    if default is None or default in ([], "") or isinstance(default, dict):
        return ""
    return _code(json.dumps(default).strip('"'))


def _type(value: Schema) -> str:
    """A type in words."""
    choices = [part for part in _parts(value) if not _is_side(part)]
    if choices:
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "$ref" in value:
        return "mapping"
    if "const" in value:
        return _code(value["const"])
    if "enum" in value:
        return ", ".join(map(_code, value["enum"]))
    return _plain_type(value)


def _is_side(value: Schema) -> bool:
    """null, which no file needs to say, and the variable that may stand for anything narrow."""
    return value.get("type") == "null" or value.get("pattern") == r"\$\{"


def _plain_type(value: Schema) -> str:
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
        mark = "   # required" if key in model.get("required", ()) else ""
        if key == "attrs":
            yield f"{indent}{key}:   # by type, see below\n"
            continue
        yield f"{indent}{key}:{mark}\n"
        deeper = indent + "  "
        if steps == ".NAME":
            yield f"{deeper}NAME:\n"
            deeper += "  "
        for name in models[:1]:
            lines = list(_outline(schema["$defs"][name], schema, deeper + "  " * (steps == "[]")))
            yield from [f"{deeper}- {lines[0].lstrip()}", *lines[1:]] if steps == "[]" else lines


# --- settings.md


_SETTINGS_INTRO = """\
Settings come from environment variables. Each may come from a file instead, whose name stands in the same variable
with `_FILE` behind it; the file wins, and white space around its content is left out. They are read once, at start: a
changed setting or file needs a restart. `syncd run` takes some as options too; an option wins.

`SYNCD_SITE` and `SYNCD_TOKEN` are read, and nothing uses them yet.

"""


def settings_page() -> str:
    """Every setting."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"SYNCD_{name.upper()}"
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        empty = default in (None, "", PydanticUndefined)
        limits = {
            sign: getattr(rule, sign) for rule in field.metadata for sign in _LIMITS if hasattr(rule, sign)
        }
        said = (field.description or "") + "".join(f" {_LIMITS[sign]} {n:g}." for sign, n in limits.items())
        rows.append((_code(variable), _code(f"{variable}_FILE"), "" if empty else _code(default), said))
    text = _head("Settings", "`syncd/settings.py`") + _SETTINGS_INTRO
    return text + _table(("variable", "or its file", "default", "description"), rows)


_LIMITS = {"ge": "At least", "gt": "Above", "le": "At most", "lt": "Below"}


# --- metrics.md


_METRICS_INTRO = """\
`GET /metrics` shows them in the text format of Prometheus. Every series of a contract exists from the start, at 0, and
goes when its contract is removed; a series of `syncd_index_failures` exists once its index does. A histogram has
`_bucket`, `_sum` and `_count`.

`syncd_lag_seconds` and `syncd_end_to_end_seconds` compare the clock of MongoDB's host with that of syncd's host.

"""
_CONTRACT = "movies"


def metrics_page() -> str:
    """Every metric."""
    telemetry.contract_known(_CONTRACT, 1.0)
    try:
        rows = [_metric_row(metric) for metric in collectors()]
    finally:
        telemetry.contract_gone(_CONTRACT)
    text = _head("Metrics", "`syncd/telemetry.py`") + _METRICS_INTRO
    return text + _table(("metric", "type", "labels", "description"), rows)


def collectors() -> list[MetricWrapperBase]:
    """The metrics in the order in which they are defined."""
    return [value for value in vars(telemetry).values() if isinstance(value, MetricWrapperBase)]


def _metric_row(metric: MetricWrapperBase) -> tuple[str, ...]:
    family = next(iter(metric.collect()))
    name = family.name + ("_total" if family.type == "counter" else "")
    values: dict[str, dict[str, None]] = {
        label: {} for label in metric._labelnames
    }  # the library has no other way
    for sample in family.samples:
        for label in values.keys() & sample.labels.keys():
            values[label][sample.labels[label]] = None
    return _code(name), family.type, "; ".join(map(_label, values.items())), family.documentation


def _label(item: tuple[str, dict[str, None]]) -> str:
    """A label with its values, where these are few and known."""
    label, values = item
    known = [value for value in values if value]
    open_ended = label in ("contract", "index", "version")
    return _code(label) if open_ended or not known else f"{_code(label)}: {', '.join(known)}"


# --- cli.md


_CLI_INTRO = """\
Data goes to stdout; logs and errors go to stderr. [Settings](settings.md) come from the environment.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | found a difference, a check failed, or a server lacks what a contract needs |
| 2 | wrong usage, or a setting that cannot be used |
| 3 | cannot connect, or a server refused |

"""


def cli_page() -> str:
    """Every verb with its options."""
    text = _head("Command line", "`syncd/cli/`") + _CLI_INTRO
    text += "## syncd\n\n" + _options(app.registered_callback.callback if app.registered_callback else None)
    for name, function in verbs(app):
        text += f"\n## syncd {name}\n\n{inspect.getdoc(function)}\n\n{_options(function)}"
    return text


def verbs(group: typer.Typer, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Names and functions, those of nested groups too."""
    for command in group.registered_commands:
        if command.callback is not None:
            yield before + (command.name or command.callback.__name__), command.callback
    for nested in group.registered_groups:
        if nested.typer_instance is not None:
            yield from verbs(nested.typer_instance, f"{before}{nested.name} ")


def _options(function: Callable[..., Any] | None) -> str:
    parameters = inspect.signature(function, eval_str=True).parameters.values() if function else ()
    rows = list(map(_option_row, parameters))
    return (
        _table(("argument or option", "value", "default", "description"), rows) if rows else "No options.\n"
    )


def _option_row(parameter: inspect.Parameter) -> tuple[str, ...]:
    """One argument or option. What carries no Annotated is an argument without words of its own."""
    kind, *notes = get_args(parameter.annotation) if _is_annotated(parameter) else (parameter.annotation,)
    info = next((note for note in notes if isinstance(note, typer.models.ParameterInfo)), None)
    if isinstance(info, typer.models.OptionInfo):
        # Inside Annotated the first name arrives in the place of the default.
        first = [info.default] if isinstance(info.default, str) else []
        name = ", ".join([*first, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"])
    else:
        name = ((info and info.metavar) or parameter.name).upper()
    default = parameter.default
    shown = "required" if default is parameter.empty else "" if default in (None, False) else _code(default)
    said = (info.help or "").rstrip(".") + "." if info and info.help else ""
    said += f" From {_code(info.envvar)}." if info and info.envvar else ""
    return _code(name), _value_of(kind) + (_bounds(info) if info else ""), shown, said


def _is_annotated(parameter: inspect.Parameter) -> bool:
    return get_origin(parameter.annotation) is Annotated


def _value_of(kind: Any) -> str:
    if _is_optional(kind):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return ", ".join(map(_code, get_args(kind)))
    if get_origin(kind) is list:
        return f"{_value_of(get_args(kind)[0])}, any number"
    return {str: "text", int: "integer", float: "number", Path: "path"}.get(kind, str(kind))


def _bounds(info: typer.models.ParameterInfo) -> str:
    low, high = info.min, info.max
    return (f", from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

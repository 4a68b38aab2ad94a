"""JSON Schema (draft 2020-12) of a contract file, for editors. From the model; `syncd check` knows more."""

from __future__ import annotations

from typing import Any, TypeAlias

from syncd.contract.model.contract import Contract
from syncd.contract.model.values import DURATION_PATTERN

Schema: TypeAlias = dict[str, Any]

_VARIABLE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "A variable: ${SYNCD_VAR_NAME} or ${SYNCD_VAR_NAME:-default}.",
}
_NARROW = ("integer", "number", "boolean")
_WORDS = ("description", "default")


def contract_schema() -> Schema:
    """What an editor needs to complete and underline: keys, values, descriptions, and the short forms."""
    schema = Contract.model_json_schema(by_alias=True)
    _allow_short_forms(schema["$defs"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "syncd contract",
        **_simplified(schema),
    }


def _allow_short_forms(definitions: Schema) -> None:
    """What validators of the model accept beyond its types; pydantic cannot see that."""
    path: Schema = {"type": "string", "minLength": 1}
    spec, value = ({"anyOf": [path, {"$ref": f"#/$defs/{name}"}]} for name in ("KeyField", "FieldSpec"))
    duration = {"type": "string", "pattern": f"^{DURATION_PATTERN}$"}
    projection = definitions["Projection"]["properties"]
    del projection["whole"]
    projection["value"] |= {"anyOf": [*value["anyOf"], {"type": "null"}]}
    projection["ttl"] |= {"anyOf": [duration, {"$ref": "#/$defs/FieldTtl"}, {"type": "null"}]}
    projection["fields"] |= {
        "anyOf": [
            {"const": "all"},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            {"type": "object", "additionalProperties": spec, "minProperties": 1},
            {"type": "null"},
        ]
    }
    definitions["Slo"]["properties"]["freshness"] |= duration


def _simplified(schema: Any) -> Any:
    """Without titles that repeat names, and with a variable wherever something narrower than text stands."""
    if isinstance(schema, list):
        return [_simplified(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _simplified_member(key, value) for key, value in schema.items() if not _is_noise(key, value)}
    narrow = schema.get("type") in _NARROW or "enum" in kept or "pattern" in kept
    if not narrow or not isinstance(schema.get("type"), str):
        return kept
    words = {key: kept.pop(key) for key in _WORDS if key in kept}
    return {**words, "anyOf": [kept, _VARIABLE]}


def _simplified_member(key: str, value: Any) -> Any:
    # Below these stand names and values, which may be called `title` or `enum` themselves.
    if key in ("properties", "$defs"):
        return {name: _simplified(item) for name, item in value.items()}
    return value if key in ("default", "enum", "const", "required") else _simplified(value)


def _is_noise(key: str, value: Any) -> bool:
    return key == "discriminator" or (key == "title" and isinstance(value, str))

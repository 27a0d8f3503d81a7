"""The HTTP API of `diptych serve`, from its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .markup import code, table, told

TITLE = "HTTP API"
PLACE = "reference/http.md"
_KINDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "object",
}  # fmt: skip
_LIMITS = {
    "minLength": "at least {} characters", "maxLength": "at most {} characters", "minimum": "from {}",
    "maximum": "to {}", "exclusiveMinimum": "above {}", "minItems": "at least {}", "maxItems": "at most {}",
    "pattern": "like {}", "default": "default {}",
}  # fmt: skip


def document() -> dict[str, Any]:
    """The OpenAPI document of a server."""
    from diptych.serve.app import create_app
    from diptych.serve.settings import ServeSettings

    return create_app(ServeSettings(), {}).api.openapi()


def page() -> str:
    """Every path with its parameters, its body and its answer; the errors of all; every schema."""
    found = document()
    errors: dict[str, str] = {}
    parts = ["# HTTP API", *(f"<p>{told(one)}</p>" for one in found["info"]["description"].split("\n\n"))]
    parts += [
        "<p>A running server gives the same as <code>/openapi.json</code>, and as a page at <code>/docs</code>. "
        "What is needed has a *.</p>"
    ]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parts += [f"## {method.upper()} {path}", *_operation(operation)]
            answers = operation["responses"]
            errors |= {status: one["description"] for status, one in answers.items() if not status.startswith("2")}
    parts += [
        "## Errors",
        table(["status", "what it means"], [(code(one), told(errors[one])) for one in sorted(errors)]),
    ]
    parts += ["## Schemas"]
    for name, schema in found["components"]["schemas"].items():
        parts += [f"### {name}", f"<p>{told(schema.get('description', ''))}</p>", _fields(schema)]
    return "\n\n".join(part for part in parts if part != "<p></p>") + "\n"


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<p>{told(operation.get('summary', ''))}.</p>"
    yield f"<p>{told(operation.get('description', ''))}</p>"
    if given := operation.get("parameters"):
        rows = [(_name(one["name"], one.get("required")), one["in"], *_about(one["schema"], one)) for one in given]
        yield table(["parameter", "where", "type", "what it is"], rows)
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{kind}</code>: {_kind(body['schema'])}</p>"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            kinds = [
                f"{_kind(one.get('schema', {}))} (<code>{kind}</code>)"
                for kind, one in answer.get("content", {}).items()
            ]
            yield f"<p>Answer, {status}: {' or '.join(kinds) or 'nothing'}</p>"


def _fields(schema: Mapping[str, Any]) -> str:
    """What an object holds, a row each."""
    needed = schema.get("required", ())
    rows = [(_name(name, name in needed), *_about(one, one)) for name, one in schema.get("properties", {}).items()]
    return table(["field", "type", "what it is"], rows) if rows else f"<p>{_kind(schema)}</p>"


def _name(name: str, needed: object) -> str:
    return code(name) + (" *" if needed else "")


def _about(schema: Mapping[str, Any], holder: Mapping[str, Any]) -> tuple[str, str]:
    """The type, and what it is with its limits."""
    inner: Mapping[str, Any] = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), {})
    both = {**inner, **schema}
    limits = [form.format(_value(both[key])) for key, form in _LIMITS.items() if both.get(key) is not None]
    said = [told(str(holder.get("description") or "")), told(", ".join(limits))]
    return _kind(schema), "; ".join(one for one in said if one)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in few words, with a link to what it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name.lower()}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema or "const" in schema:
        return " or ".join(code(json.dumps(one)) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("contentMediaType") == "application/octet-stream" or schema.get("format") == "binary":
        return "file"
    return _KINDS.get(str(schema.get("type", "")), "anything")

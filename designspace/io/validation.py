"""Validate data against pydantic schemas, with messages for whoever wrote the file."""

import json
import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from designspace.errors import InputError, nearest, printable, shortened

Schema = TypeVar("Schema")

# Pydantic's name for one branch of a union, which is not part of the file.
_BRANCH = re.compile(r"(?:literal|list|tuple)\[.*\]", re.DOTALL)
# Clearer words than pydantic's.
_MESSAGES = {
    "string_pattern_mismatch": "must be letters, digits, dots, dashes or underscores, up to 100",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a map of keys to values",
    "model_type": "must be a map of keys to values",
    "model_attributes_type": "must be a map of keys to values",
    "dataclass_type": "must be a map of keys to values",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "string_too_short": "must not be empty",
    "union_tag_not_found": "must have the key {discriminator}",
}


def validate(schema: type[Schema], data: dict[str, Any], path: Path | str, what: str) -> Schema:
    """Validate the data of a file against a pydantic model or dataclass.

    Raises:
        InputError: With file, key path, value, rule and valid choices, for the first five mistakes.
    """
    if not isinstance(data, dict):
        raise InputError(f"{what}: {path}: must be a map of keys to values")
    try:
        return schema(**data)
    except ValidationError as error:
        problems = [
            shortened(printable(_describe(problem, schema)), 300) for problem in error.errors()[:5]
        ]
        more = error.error_count() - len(problems)
        if more > 0:
            problems.append(f"and {more} more")
        raise InputError(f"{what}: {path}: " + "; ".join(problems)) from None


def _describe(problem: Any, schema: Any) -> str:
    path = _key_path(problem["loc"])
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return f"{path}: missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        keys = _keys_at(schema, problem["loc"][:-1])
        hint = f"; {nearest(str(problem['loc'][-1]), keys)}" if keys else ""
        return f"{path}: unknown key{hint}"
    where = f"{path}: " if path else ""
    if isinstance(value, dict):  # the rule is about several keys, which the message names
        return f"{where}{_rule(problem)}"
    return f"{where}{_rule(problem)}; found {_shown(value)}"


def _rule(problem: Any) -> str:
    if problem["type"] in _MESSAGES:
        return _MESSAGES[problem["type"]].format(**problem.get("ctx", {}))
    message: str = problem["msg"]
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _shown(value: Any) -> str:
    return shortened(json.dumps(value, default=str))


def _key_path(loc: tuple[str | int, ...]) -> str:
    """Render a location as crops[1].size."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not _BRANCH.fullmatch(part):
            path += f".{shortened(part)}"
    return path.removeprefix(".")


def _keys_at(schema: Any, loc: tuple[str | int, ...]) -> list[str]:
    """Return the field names of the schema at a location, as far as annotations lead there."""
    for part in loc:
        schema = _field_types(schema).get(str(part))
        options = (schema, *getattr(schema, "__args__", ()))
        schema = next((option for option in options if _field_types(option)), None)
    return list(_field_types(schema))


def _field_types(schema: Any) -> dict[str, Any]:
    if hasattr(schema, "__pydantic_fields__"):
        return {name: field.annotation for name, field in schema.__pydantic_fields__.items()}
    return get_type_hints(schema) if is_dataclass(schema) else {}


def from_plain(schema: type[Schema], data: Any, what: str) -> Schema:
    """Make a dataclass of plain data (lists for tuples), validating every field.

    Raises:
        InputError: A key is missing or unknown, or a value breaks a rule.
    """
    try:
        result: Schema = _adapter(schema).validate_python(data)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InputError(f"{what}: {_describe(error.errors()[0], schema)}") from None
    return result


def check_fields(instance: Any, prefix: str = "") -> None:
    """Check the fields of a standard dataclass against the constraints in their annotations.

    Raises:
        InputError: A value breaks one, as in "resolution is 0; it must be ...".
    """
    for name, adapter in _field_adapters(instance.__class__).items():
        try:
            adapter.validate_python(getattr(instance, name))
        except ValidationError as error:
            problem = error.errors()[0]
            where, value = _key_path((name, *problem["loc"])), _shown(problem.get("input"))
            raise InputError(f"{prefix}{where} is {value}; it {_rule(problem)}", name) from None


def check_value(schema: Any, name: str, value: Any) -> None:
    """Check a value against the constraints of one field of a standard dataclass.

    Raises:
        InputError: It breaks one; the message does not name the field.
    """
    try:
        _field_adapters(schema)[name].validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{_rule(problem)}; found {_shown(problem.get('input'))}") from None


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


@cache
def _field_adapters(schema: Any) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(schema, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(schema)}

"""Validate data against pydantic schemas, with messages for whoever wrote the file."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

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


def _describe(problem: Any, schema: type[Any]) -> str:
    path = _key_path(problem["loc"])
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return f"{path}: missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        keys = _keys_at(schema, problem["loc"][:-1])
        hint = f"; {nearest(str(problem['loc'][-1]), keys)}" if keys else ""
        return f"{path}: unknown key{hint}"
    if kind in _MESSAGES:
        message = _MESSAGES[kind].format(**problem.get("ctx", {}))
    else:
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    where = f"{path}: " if path else ""
    if isinstance(value, dict):  # the rule is about several keys, which the message names
        return f"{where}{message}"
    return f"{where}{message}; found {shortened(json.dumps(value, default=str))}"


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
        fields = getattr(schema, "__pydantic_fields__", {})
        if part not in fields:
            return []
        schema = fields[part].annotation
        for option in getattr(schema, "__args__", ()):
            if hasattr(option, "__pydantic_fields__"):
                schema = option
    return list(getattr(schema, "__pydantic_fields__", {}))

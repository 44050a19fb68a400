"""Validate data against pydantic schemas, with messages for whoever wrote the file."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic_core import ArgsKwargs

from designspace.errors import InputError, nearest, printable, shortened

Schema = TypeVar("Schema")

# Pydantic's name for one branch of a union, which is not part of the file.
_BRANCH = re.compile(r"(?:literal|list|tuple)\[.*\]", re.DOTALL)
_SHOULD = re.compile(r"^[A-Z]\w+ should")
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
    "string_type": "must be text",
    "list_type": "must be a list",
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_too_short": "must not be empty",
    "union_tag_not_found": "must have the key {discriminator}",
}


class FilePart(BaseModel):
    """A part of a file, in which unknown keys are refused, and true or false for a number.

    YAML reads yes and no as true and false, which Python would take for 1 and 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_switches(cls, data: Any) -> Any:
        _refuse_switches(cls, data)
        return data


def _refuse_switches(model: type[BaseModel], data: Any) -> None:
    for key, part in data.items() if isinstance(data, dict) else ():
        field = model.model_fields.get(key)
        annotation = None if field is None else field.annotation
        # A model within this one checks its own entries.
        if annotation is bool or (isinstance(part, dict) and _is_model(annotation)):
            continue
        for path, value in _entries(str(key), part):
            if isinstance(value, bool):
                raise ValueError(
                    f"{path}: found {str(value).lower()} (YAML reads yes, no, on and off as true "
                    "and false); write a number, or a name in quotes"
                )


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _entries(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value, and the entries directly in it if it is a map or a list, with their paths."""
    yield key, value
    if isinstance(value, dict):
        yield from ((f"{key}.{inner}", part) for inner, part in value.items())
    elif isinstance(value, list):
        yield from ((f"{key}[{i}]", part) for i, part in enumerate(value))


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
        raise InputError(
            f"{what}: {path}: {list_mistakes(_problems(error, schema, data))}"
        ) from None


def mistakes(schema: Any, data: dict[str, Any], incomplete: tuple[str, ...]) -> str:
    """Return the mistakes in data that lacks some keys, or an empty text.

    Args:
        schema: A pydantic model or dataclass.
        data: What is there.
        incomplete: Pydantic's types of what is no mistake as long as keys are missing.
    """
    try:
        schema(**data)
    except ValidationError as error:
        return list_mistakes(_problems(error, schema, data, incomplete))
    return ""


def list_mistakes(problems: Sequence[str]) -> str:
    """Return the first five mistakes, and how many more there are."""
    more = [f"and {len(problems) - 5} more"] if len(problems) > 5 else []
    return "; ".join([*problems[:5], *more])


def _problems(
    error: ValidationError, schema: Any, data: Any, ignored: tuple[str, ...] = ()
) -> list[str]:
    """Describe mistakes, one for each place.

    Of a union pydantic reports every branch. Where the mistake lies within a value, the branches
    that the whole value does not fit are left out; elsewhere, one text names all branches.
    """
    places: dict[tuple[str | int, ...], list[Any]] = {}
    unions: dict[tuple[str | int, ...], bool] = {}  # whether the mistake lies within the value
    for problem in error.errors():
        if problem["type"] not in ignored:
            place, union = _place(problem, data)
            places.setdefault(place, []).append(problem)
            if union is not None:
                unions[union] = unions.get(union, False) or place != union
    described = []
    for place, problems in places.items():
        if unions.get(place):
            continue
        text = _describe(problems[0], schema, place, [_rule(problem) for problem in problems])
        described.append(shortened(printable(text), 300))
    return described


def _place(problem: Any, data: Any) -> tuple[tuple[str | int, ...], tuple[str | int, ...] | None]:
    """Return where in the data a mistake is, and which value there is that of a union.

    What pydantic's location has besides the keys of the data are names of branches.
    """
    place: list[str | int] = []
    union = None
    for i, part in enumerate(problem["loc"]):
        listed = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if listed or (isinstance(data, dict) and part in data):
            data = data[part]
        elif problem["type"] != "missing" or i < len(problem["loc"]) - 1:
            union = tuple(place) if union is None else union
            continue
        place.append(part)
    return tuple(place), union


def _describe(problem: Any, schema: Any, place: tuple[str | int, ...], rules: list[str]) -> str:
    path = _key_path(place)
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return f"{path}: missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}: unknown key{_hint(schema, problem['loc'])}"
    where = f"{path}: " if path else ""
    if kind == "union_tag_invalid":
        tags = re.findall(r"'([^']*)'", problem["ctx"]["expected_tags"])
        key, tag = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]["tag"]
        return f"{where}{key} is {shortened(repr(tag))}; {nearest(tag, tags)}"
    first, *others = dict.fromkeys(rules)
    rule = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    if isinstance(
        value, dict | ArgsKwargs
    ):  # the rule is about several keys, which the message names
        return f"{where}{rule}"
    return f"{where}{rule}; found {_shown(value)}"


def _rule(problem: Any) -> str:
    if problem["type"] in _MESSAGES:
        return _MESSAGES[problem["type"]].format(**problem.get("ctx", {}))
    message: str = problem["msg"]
    return _SHOULD.sub("must", message.removeprefix("Value error, "))


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


def _hint(schema: Any, loc: tuple[str | int, ...]) -> str:
    """Return the known keys near an unknown one, or where it belongs."""
    key, types = str(loc[-1]), schema
    for part in loc[:-1]:
        types = _inner(types, part) or types
    names = {name: t for option in _options(types) for name, t in _field_types(option).items()}
    for name, annotation in names.items():
        for option in _options(annotation):
            entries = get_origin(option) in (dict, list)
            inner = get_args(option)[-1] if entries else option
            if any(key in _field_types(one) for one in _options(inner)):
                return f"; it belongs {'to an entry of' if entries else 'under'} {name}"
    return f"; {nearest(key, list(names))}" if names else ""


def _inner(annotation: Any, part: str | int) -> Any:
    """Return the type of a part of a value, or None where the part is the name of a branch."""
    for option in _options(annotation):
        if get_origin(option) in (dict, list):
            return get_args(option)[-1]
        if part in (types := _field_types(option)):
            return types[str(part)]
    return None


def _options(annotation: Any) -> list[Any]:
    """Return the branches of a type."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for branch in get_args(annotation) for option in _options(branch)]
    return [annotation]


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
        raise InputError(f"{what}: {_problems(error, schema, data)[0]}") from None
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

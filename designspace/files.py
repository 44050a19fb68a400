"""Reading and writing the files that people open: safe YAML, checked shapes, atomic writes."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from designspace.errors import InputError, nearest

MAX_YAML_BYTES = 1 << 20
_MAX_YAML_DEPTH = 40

Schema = TypeVar("Schema", bound=BaseModel)


def read_text(path: Path, what: str) -> str:
    """Read a UTF-8 file.

    Raises:
        InputError: It is missing, a folder, unreadable, or not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{what}: no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{what}: {path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: {path} is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{what}: cannot read {path}: {reason}") from None


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML map with the safe loader; aliases, over-large and over-deep files are refused.

    Raises:
        InputError: The file is unreadable, is not YAML, has a tag or an alias, or is no map.
    """
    text = read_text(path, what)
    if len(text) > MAX_YAML_BYTES:
        raise InputError(f"{what}: {path} is larger than {MAX_YAML_BYTES} bytes")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.AliasEvent):
                raise InputError(
                    f"{what}: {path}, line {line}: aliases (*{event.anchor}) are not accepted; "
                    "write the value out"
                )
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_YAML_DEPTH:
                raise InputError(f"{what}: {path}, line {line}: nested too deep")
        _refuse_duplicates(yaml.compose(text, Loader=yaml.SafeLoader))
        data = yaml.safe_load(text)
    except InputError:
        raise
    except _DuplicateKey as error:
        raise InputError(f"{what}: {path}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise InputError(f"{what}: {path}{where}: {problem}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{what}: {path}: {error}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InputError(f"{what}: {path} must be a map of keys to values at its top level")
    return data


def validate(schema: type[Schema], data: dict[str, Any], path: Path | str, what: str) -> Schema:
    """Check data that a person wrote against a pydantic schema.

    Raises:
        InputError: For the first mistakes: file, key path, the value, the rule, the valid choices.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        problems = [_describe(problem, schema) for problem in error.errors()[:5]]
        more = error.error_count() - len(problems)
        if more > 0:
            problems.append(f"and {more} more")
        raise InputError(f"{what}: {path}: " + "; ".join(problems)) from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a temporary neighbour, fsync, rename.

    Raises:
        InputError: The folder does not exist or cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def make_folder(path: Path) -> Path:
    """Make a folder with its parents.

    Raises:
        InputError: A file is in the way, or a parent cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"cannot make folder {path}: a file of that name is in the way") from None
    except OSError as error:
        raise InputError(f"cannot make folder {path}: {error.strerror}") from None
    return path


def dump_yaml(data: dict[str, Any], header: str = "") -> str:
    """Render plain data as YAML in the given order, short lists on one line, under `#` lines."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )


def seal(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with a `fingerprint` of all the rest, by which a later edit is noticed."""
    return {**data, "fingerprint": _fingerprint(data)}


def unseal(data: dict[str, Any], path: Path, what: str) -> dict[str, Any]:
    """Return sealed data without its fingerprint; data that never had one is taken as it is.

    Raises:
        InputError: The data was changed after it was sealed.
    """
    rest = {key: value for key, value in data.items() if key != "fingerprint"}
    if data.get("fingerprint", (expected := _fingerprint(rest))) != expected:
        raise InputError(
            f"{what}: {path} was edited after it was written, and the results beside it are of "
            "what it said before; undo the edit, or start another run folder"
        )
    return rest


def _fingerprint(data: dict[str, Any]) -> str:
    # As it reads back: YAML may spell a number otherwise than it came.
    plain = yaml.safe_load(dump_yaml(data))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


# Where pydantic's own words would puzzle a person.
_MESSAGES = {
    "string_pattern_mismatch": "must be letters, digits, dots, dashes or underscores, up to 100",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a map of keys to values",
    "model_type": "must be a map of keys to values",
    "model_attributes_type": "must be a map of keys to values",
    "finite_number": "must be a finite number",
}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _DuplicateKey(Exception):
    """A key stands twice in one map; the message says which, and where."""


def _refuse_duplicates(node: yaml.Node | None) -> None:
    """YAML's loader would silently take the last of two equal keys."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1 if key.start_mark else 0
                    raise _DuplicateKey(f"line {line}: the key {key.value!r} stands twice")
                seen.add(key.value)
            _refuse_duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value)


def _describe(problem: Any, schema: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return f"{path}: missing"
    if kind == "extra_forbidden":
        known = _keys_at(schema, problem["loc"][:-1])
        hint = f"; {nearest(str(problem['loc'][-1]), known)}" if known else ""
        return f"{path}: unknown key{hint}"
    message = _MESSAGES.get(kind) or problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be").format(**problem.get("ctx", {}))
    where = f"{path}: " if path else ""
    if isinstance(value, dict):  # the rule is about several keys, which the message names
        return f"{where}{message}"
    shown = json.dumps(value, default=str)
    return f"{where}{message}; found {shown if len(shown) <= 80 else shown[:77] + '...'}"


def _keys_at(schema: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the schema at a location, as far as annotations lead there."""
    current: Any = schema
    for part in loc:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        current = fields[part].annotation
        for option in getattr(current, "__args__", ()):
            if isinstance(option, type) and issubclass(option, BaseModel):
                current = option
    return list(getattr(current, "model_fields", {}))

"""Reading and writing the files that people open: safe YAML, checked shapes, atomic writes."""

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from designspace.errors import InputError, nearest, printable, shortened

MAX_YAML_LENGTH = 1 << 18
# What `tempfile` or `half_written` put behind the name that a file is to have.
_HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}")
_MAX_YAML_DEPTH = 40
_MAX_YAML_VALUES = 10_000
_MAX_DIGITS = 100

_PLAIN = ("bool", "float", "int", "null")
# How pydantic names one of the kinds that a value may be of.
_BRANCH = re.compile(r"(?:literal|list|tuple)\[.*\]", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")

Schema = TypeVar("Schema")


def read_text(path: Path, what: str, most: int | None = None) -> str:
    """Read a UTF-8 file of at most so many characters.

    Raises:
        InputError: It is missing, no regular file, unreadable, too long, or not UTF-8 text.
    """
    refuse_odd(path, what)
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read() if most is None else file.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"{what}: no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{what}: {path} is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what}: {path} is not UTF-8 text (byte {error.start}); save it as plain text"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{what}: cannot read {path}: {reason}") from None
    if most is not None and len(text) > most:
        raise InputError(
            f"{what}: {path} is longer than {most:,} characters; is it the right file?"
        )
    return text


def refuse_odd(path: Path, what: str) -> None:
    """Refuse pipes, devices and sockets: opening one may wait, and reading it go on, for ever.

    Raises:
        InputError: There is something at the path, and it is neither a file nor a folder.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says why it can't be
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            f"{what}: {path} is a pipe, a device or a socket, which could be waited for without "
            "end; put a plain file in its place"
        )


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML map of plain values: no tags, no aliases, text as keys, in bounded time.

    Raises:
        InputError: The file is unreadable, is not YAML, holds more than plain values, or is no map.
    """
    text = read_text(path, what, MAX_YAML_LENGTH)
    try:
        data = _Reader(text).get_single_data()
    except _Refused as error:
        raise InputError(f"{what}: {path}, line {error.line}: {error}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{what}: {path}, line {line}: a character that is no text, U+{error.character:04X}"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise InputError(f"{what}: {path}{where}: {printable(problem)}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{what}: {path}: {printable(str(error))}") from None
    if not isinstance(data, dict):
        raise InputError(f"{what}: {path} must be a map of keys to values at its top level")
    return data


def shipped_names(package: str) -> list[str]:
    """Return the names of the YAML files in the folder `recipes` of a package of ours."""
    names = (entry.name for entry in (resources.files(package) / "recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def read_named(name: str, package: str, what: str) -> tuple[dict[str, Any], str]:
    """Read a recipe that comes with a package of ours, or a person's own by the path of its file.

    Returns:
        Its data, and what the file is called in messages.

    Raises:
        InputError: There is no such recipe, or its file can't be read.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name), what), name
    if Path(name).is_dir():
        raise InputError(f"{what}: {name} is a folder; name a .yaml file")
    known = shipped_names(package)
    if name not in known:
        raise InputError(
            f"no {what} {shortened(repr(name))}; {nearest(name, known)} "
            "(or the path of a .yaml file)"
        )
    with resources.as_file(resources.files(package) / "recipes" / f"{name}.yaml") as path:
        return read_yaml(path, what), path.name


def validate(schema: type[Schema], data: dict[str, Any], path: Path | str, what: str) -> Schema:
    """Check data that a person wrote against a pydantic model or dataclass.

    Raises:
        InputError: For the first mistakes: file, key path, the value, the rule, the valid choices.
    """
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


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        InputError: As `write_bytes`.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary neighbour, fsync, rename.

    Raises:
        InputError: The folder does not exist or cannot be written, or the disk is full.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def half_written(path: Path) -> Path:
    """Name a file of this process that is to be renamed to `path` when it is whole."""
    return path.with_name(f".{path.name}.{os.getpid():08d}")


def remove_half_written(folder: Path) -> None:
    """Remove what processes left in a folder that were killed while they wrote into it."""
    for path in folder.iterdir():
        if _HALF_WRITTEN.fullmatch(path.name):
            path.unlink(missing_ok=True)


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


def refuse_links_out(folder: Path, names: Iterable[str]) -> None:
    """Refuse links of those names by which writing into a folder would reach another place.

    Folders come from strangers, too, and what lies behind their links is not theirs.

    Raises:
        InputError: There is such a link; it is named.
    """
    home = Path(os.path.realpath(folder))
    for path in (folder / name for name in names):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise InputError(
                f"{path} is a link out of its folder, to {path.readlink()}; put a copy in its place"
            )


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
    plain = _Reader(dump_yaml(data)).get_single_data()
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
    "string_too_short": "must not be empty",
    "union_tag_not_found": "must have the key {discriminator}",
}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Refused(Exception):
    """Something that YAML has and our files don't; the message says what, `line` where."""

    def __init__(self, message: str, mark: yaml.Mark | None) -> None:
        super().__init__(message)
        self.line = mark.line + 1 if mark else 0


class _Reader(yaml.SafeLoader):
    """Builds plain values, and stops at what would be none or take long."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"aliases (*{event.anchor}) are not accepted; write the value out", mark)
        if getattr(event, "tag", None) is not None:
            raise _Refused("tags (!) are not accepted; write the plain value", mark)
        self._values += 1
        if self._values > _MAX_YAML_VALUES:
            raise _Refused(f"more than {_MAX_YAML_VALUES:,} values; is it the right file?", mark)
        self._depth += 1
        if self._depth > _MAX_YAML_DEPTH:
            raise _Refused("nested too deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        _check_node(node)
        return node


# Dates, merged maps and `=` are text here.
_Reader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rpartition(":")[2] in _PLAIN]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_node(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith(":int") and len(node.value) > _MAX_DIGITS:
            raise _Refused(f"a number of {len(node.value):,} digits", node.start_mark)
        if _SURROGATE.search(node.value):
            raise _Refused("an escape that is no character", node.start_mark)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            raise _Refused("a key that is no text; write it in quotes", key.start_mark)
        if key.value in seen:  # YAML's loader would silently take the last
            shown = shortened(printable(key.value))
            raise _Refused(f"the key {shown!r} stands twice", key.start_mark)
        seen.add(key.value)


def _describe(problem: Any, schema: type[Any]) -> str:
    path = _place(problem["loc"])
    kind, value = problem["type"], problem.get("input")
    if kind == "missing":
        return f"{path}: missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys_at(schema, problem["loc"][:-1])
        hint = f"; {nearest(str(problem['loc'][-1]), known)}" if known else ""
        return f"{path}: unknown key{hint}"
    if kind in _MESSAGES:
        message = _MESSAGES[kind].format(**problem.get("ctx", {}))
    else:
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    where = f"{path}: " if path else ""
    if isinstance(value, dict):  # the rule is about several keys, which the message names
        return f"{where}{message}"
    return f"{where}{message}; found {shortened(json.dumps(value, default=str))}"


def _place(loc: tuple[str | int, ...]) -> str:
    """Write where in a file, crops[1].size, without pydantic's names of a choice's branches."""
    words = ""
    for part in loc:
        if isinstance(part, int):
            words += f"[{part}]"
        elif not _BRANCH.fullmatch(part):
            words += f".{shortened(part)}"
    return words.removeprefix(".")


def _keys_at(schema: type[Any], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the schema at a location, as far as annotations lead there."""
    current: Any = schema
    for part in loc:
        fields = getattr(current, "__pydantic_fields__", {})
        if part not in fields:
            return []
        current = fields[part].annotation
        for option in getattr(current, "__args__", ()):
            if hasattr(option, "__pydantic_fields__"):
                current = option
    return list(getattr(current, "__pydantic_fields__", {}))

"""Read and write YAML of plain values: bounded size, no tags, no aliases, no duplicate keys."""

import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from designspace.errors import InputError, printable, shortened
from designspace.io.text_files import read_text

MAX_YAML_LENGTH = 1 << 18
_MAX_DEPTH = 40
_MAX_VALUES = 10_000
_MAX_DIGITS = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML map of plain values.

    Raises:
        InputError: The file is unreadable, is not YAML or is not such a map.
    """
    try:
        data = parse_yaml(read_text(path, what, MAX_YAML_LENGTH))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "not valid YAML")
        raise InputError(f"{what}: {path}{where}: {printable(str(problem))}") from None
    except (ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}: {path}: {printable(str(error))}") from None
    if not isinstance(data, dict):
        raise InputError(f"{what}: {path} must be a map of keys to values at its top level")
    return data


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values; raises `yaml.YAMLError`, ValueError or RecursionError."""
    return _PlainLoader(text).get_single_data()


def dump_yaml(data: dict[str, Any], header: str = "") -> str:
    """Render plain data as YAML in the given order, short lists on one line, under `#` lines."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + yaml.dump(
        data,
        Dumper=_PlainDumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=None,
    )


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that stops at everything beyond plain values, and before it takes long."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._values += 1
        self._depth += 1
        if isinstance(event, yaml.AliasEvent):
            _refuse(f"aliases (*{event.anchor}) are not accepted; write the value out", event)
        if getattr(event, "tag", None) is not None:
            _refuse("tags (!) are not accepted; write the plain value", event)
        if self._values > _MAX_VALUES:
            _refuse(f"more than {_MAX_VALUES:,} values; is it the right file?", event)
        if self._depth > _MAX_DEPTH:
            _refuse("nested too deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith(":int") and len(node.value) > _MAX_DIGITS:
                _refuse(f"a number of {len(node.value):,} digits", node)
            if _SURROGATE.search(node.value):
                _refuse("an escape that encodes no character", node)
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return node


# Dates, merge keys and `=` are read as text.
_PlainLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].endswith((":bool", ":float", ":int", ":null"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


# YAML 1.1 reads 5e-5 as text, for lack of a point. Without the sign it may be a hash, such as 5e12.
_FLOAT = re.compile(r"[-+]?[0-9]+[eE][-+][0-9]{1,3}")
for _kind in (_PlainLoader, _PlainDumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            _refuse("a key that is not text; write it in quotes", key)
        if key.value in seen:  # PyYAML would silently take the last
            _refuse(f"duplicate key {shortened(printable(key.value))!r}", key)
        seen.add(key.value)


def _refuse(problem: str, place: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)

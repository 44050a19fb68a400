"""Library messages in the words of the command line: its flags in place of Python arguments."""

import re
from typing import Any

from designspace.errors import InputError

# An option as library messages write it: "seed is -1; …", download=True, backend='dask'; what is
# part of a path (results/seed=1/lr=0.1) is none.
_SUBJECT = re.compile(r"([a-z][a-z_]*) (?:is|has|needs) ")
_ARGUMENT = re.compile(r"(?<![\w/.:=,-])([a-z][a-z_]*)=('[^']*'|\"[^\"]*\"|\w*)(?![\w/=-]|\.\w)")


def with_flags(message: InputError | str, command: Any) -> str:
    """Return a message with the command's flags in place of Python arguments."""
    flags = {
        parameter.name.rstrip("_"): max(parameter.opts, key=len)
        for parameter in getattr(command, "params", ())
        if parameter.opts[0].startswith("-")
    }

    def flag(name: str) -> str | None:
        return flags.get(name) or flags.get(name.removesuffix("s")) or flags.get(f"{name}s")

    def option(match: re.Match[str]) -> str:
        name, value = flag(match[1]), match[2].strip("'\"")
        if name is None:
            return match[0]
        return name if value in ("True", "") else f"{name} {value}"

    text = _ARGUMENT.sub(option, str(message))
    subject = _SUBJECT.match(text)
    argument = getattr(message, "argument", None) or (subject[1] if subject else "")
    if argument and text.startswith(argument) and (name := flag(argument)):
        text = name + text[len(argument) :]
    return text

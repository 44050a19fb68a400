"""Names of networks, spaces and blocks: they become names of files, folders and identifiers."""

import re

from designspace.errors import InputError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$"


def check_name(name: object, what: str = "a network") -> None:
    """Raise unless the name can be used in files of all libraries.

    Raises:
        InputError: It can't; the message has the rule.
    """
    # `$` matches before a last newline too.
    if not isinstance(name, str) or not re.match(NAME_PATTERN, name) or name.endswith("\n"):
        raise InputError(
            f"{name!r} can't name {what}: letters, digits and ._@+- only, up to 100, a letter or "
            "digit first"
        )


def model_name(*parts: object) -> str:
    """Return a valid name of a model that joins others, whatever characters those have."""
    text = re.sub(r"[^A-Za-z0-9._@+-]+", "-", "-".join(map(str, parts))).strip("-._@+")
    return text[-100:].lstrip("-._@+") or "model"

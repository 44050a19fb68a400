"""Refuse options that would have no effect."""

import inspect
from collections.abc import Callable
from typing import Any

from designspace.errors import InputError


def refuse_idle(function: Callable[..., Any], needed: str, **options: object) -> None:
    """Raise for an option that has no effect, unless it has its default.

    Args:
        function: The public function that the options are of.
        needed: Without which argument they have none, such as `"latency or memory"`.
        **options: The options by name.

    Raises:
        InputError: For the first that differs from its default.
    """
    parameters = inspect.signature(function).parameters
    for name, value in options.items():
        if value != parameters[name].default:
            raise InputError(
                f"{name} is {value!r}, which has no effect without {needed}; leave it out, or give "
                f"{needed}",
                name,
            )

"""Exceptions for mistakes of the user, and helpers that word them."""

import functools
import inspect
from collections.abc import Callable
from numbers import Integral, Real
from types import UnionType
from typing import ParamSpec, TypeVar, get_args

P = ParamSpec("P")
R = TypeVar("R")


class InputError(ValueError):
    """Invalid input: an argument, a file or a folder.

    The message says what is wrong, where, and what would be right. The command line prints it as it
    is, without a traceback, and exits with 2. Bugs of the package itself never raise this.

    Library messages name options as Python arguments: a message about one argument begins with its
    name (`seed is -1; ...`), and a remedy is written `download=True`. The command line translates
    both into its flags.

    Example:
        >>> import designspace as ds
        >>> try:
        ...     ds.load_space("AnyNetXZ")
        ... except ds.InputError as error:
        ...     print(str(error).partition(";")[0])
        no space 'AnyNetXZ'

    Attributes:
        argument: Name of the Python argument that is wrong, if it is one.
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class MissingLabels(InputError):
    """Images have no labels where labels are needed."""


class Diverged(Exception):
    """The loss of a training became non-finite; the message says when, and suggests remedies.

    Example:
        >>> import designspace as ds
        >>> issubclass(ds.Diverged, Exception)
        True
    """


class DeviceError(RuntimeError):
    """No device is left to train on. The command line prints the message and exits with 1."""


def check_numbers(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: refuse what is no number where int or float is annotated."""
    kinds: dict[str, tuple[type, str]] = {}
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        union = isinstance(parameter.annotation, UnionType)
        options = {*(get_args(parameter.annotation) if union else [parameter.annotation])}
        options -= {type(None)}
        if options == {int}:
            kinds[name] = (Integral, "a whole number")
        elif options and options <= {int, float}:
            kinds[name] = (Real, "a number")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in (*zip(parameters, args, strict=False), *kwargs.items()):
            kind, what = kinds.get(name, (object, ""))
            if value is None and type(None) in get_args(parameters[name].annotation):
                continue
            if not isinstance(value, kind) or (what and isinstance(value, bool)):
                raise InputError(f"{name} is {value!r}; it must be {what}", name)
        return function(*args, **kwargs)

    return checked


def nearest(word: str, known: list[str], most: int = 3) -> str:
    """Return `did you mean A, B?` or the list of all known names, for an error message."""
    import difflib

    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(folded), n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(folded[name] for name in close)}?"
    return f"known: {', '.join(known)}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 model`, `2 models`, `1,000 entries`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Return a text on one line, with what can't be seen written as escapes: names may hold line
    ends, and marks that recolour a terminal or turn its writing around.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = 80) -> str:
    """Return a text, or its beginning and three dots where it is longer than a line of a message
    should be.
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."

"""Exceptions for mistakes of the user, and helpers that word them."""

import functools
import inspect
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, get_args

P = ParamSpec("P")
R = TypeVar("R")

# Annotations that are checked, the types that fit, and what messages call them.
_CHECKED: tuple[tuple[set[type], tuple[type, ...], str], ...] = (
    ({int}, (Integral,), "a whole number"),
    ({int, float}, (Real,), "a number"),
    ({str}, (str,), "a string"),
    ({str, Path}, (str, os.PathLike), "a string or a path"),
)


# Items that a message names.
_MAX_NAMED = 5


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
    """The loss of a training became non-finite; the message says when.

    Example:
        >>> import designspace as ds
        >>> issubclass(ds.Diverged, Exception)
        True
    """


class DeviceError(RuntimeError):
    """No device is left to train on. The command line prints the message and exits with 1."""


def check_types(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: check arguments annotated as numbers, strings or paths."""
    parameters = inspect.signature(function).parameters
    expected = {name: _expected(parameter.annotation) for name, parameter in parameters.items()}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in (*zip(parameters, args, strict=False), *kwargs.items()):
            types, what = expected.get(name) or ((object,), "")
            if what and (not isinstance(value, types) or isinstance(value, bool)):
                raise InputError(f"{name} is {shortened(repr(value))}; it must be {what}", name)
            if isinstance(value, str) and not value and os.PathLike in types:
                raise InputError(f"{name} is empty; pass a path or a name", name)
        plain = [_plain_number(value) for value in args]
        named = {name: _plain_number(value) for name, value in kwargs.items()}
        return function(*plain, **named)

    return checked


def _plain_number(value: Any) -> Any:
    """Return a number of NumPy as one of Python, which files and schemas take; others as is."""
    if isinstance(value, int | float | complex):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _expected(annotation: Any) -> tuple[tuple[type, ...], str] | None:
    """Return the types that an annotation stands for and their name, or None for any."""
    members = {*(get_args(annotation) if isinstance(annotation, UnionType) else [annotation])}
    optional = NoneType in members
    for annotated, types, what in _CHECKED:
        if members and members - {NoneType} <= annotated:
            return ((*types, NoneType) if optional else types), what
    return None


def check_number(value: object, argument: str) -> float:
    """Return a number, also that of an array or a tensor of one, as a float.

    Raises:
        InputError: It is something else.
    """
    try:
        if not isinstance(value, str | bytes | bool):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):  # of an array of several, a tensor of several
        pass
    raise InputError(f"{argument} is {shortened(repr(value))}; it must be a number", argument)


def check_index(index: object, size: int, of: str) -> int:
    """Return an index from 0 to size - 1; a negative one counts from the end.

    Raises:
        TypeError: It is no whole number.
        IndexError: It is out of range.
    """
    try:
        number = operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"index is {index!r}; it must be a whole number") from None
    if not -size <= number < size:
        raise IndexError(f"model {number} of {of} of {size}")
    return number % size


def nearest(word: str, known: list[str], most: int = 3) -> str:
    """Return `did you mean A, B?` or the list of all known names, for an error message."""
    import difflib

    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(folded), n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(folded[name] for name in close)}?"
    return f"known: {', '.join(known)}"


def name_some(items: Sequence[str] | Mapping[str, str]) -> str:
    """Return the first few names, separated by semicolons, those of a map with their reasons."""
    names = items
    if isinstance(items, Mapping):
        names = [f"{name} ({reason})" for name, reason in items.items()]
    return "; ".join([*names][:_MAX_NAMED]) + ("; …" if len(items) > _MAX_NAMED else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 model`, `2 models`, `1,000 entries`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Return a text on one line, with what can't be seen written as escapes: names may hold line
    ends, and marks that recolour a terminal or turn its writing around.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """Return the type of an error, and the first line of its message if it has one."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *(shortened(line, 500) for line in lines[:1])])


def shortened(text: str, most: int = 80) -> str:
    """Return a text, or its beginning and three dots where it is longer than a line of a message
    should be.
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."

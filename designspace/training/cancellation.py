"""Stop the training of a task that is cancelled, from within its thread."""

from collections.abc import Callable
from contextvars import ContextVar

_IS_CANCELLED: ContextVar[Callable[[], bool]] = ContextVar("is_cancelled", default=lambda: False)


class TaskCancelled(BaseException):
    """The task is cancelled: it has no outcome. Handlers of `Exception` let it through."""


def watch_cancellation(is_cancelled: Callable[[], bool]) -> None:
    """Ask `is_cancelled` whether the tasks of this thread are cancelled, from now on."""
    _IS_CANCELLED.set(is_cancelled)


def raise_if_cancelled() -> None:
    """Raise if the task of this thread is cancelled.

    Raises:
        TaskCancelled: It is.
    """
    if _IS_CANCELLED.get()():
        raise TaskCancelled("the task is cancelled")

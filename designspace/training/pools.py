"""Processes of joblib's loky, as the cache and the trials use them."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

__all__ = ["ProcessPoolExecutor", "TerminatedWorkerError", "interrupts_blocked", "unordered"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C, which is for this process alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unordered(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Apply a function in processes, a few items ahead; yield results as they come.

    Raises:
        TerminatedWorkerError: A process was killed. What was yielded before stands.
    """
    pool = ProcessPoolExecutor(max_workers=jobs)
    source = iter(items)
    running: set[Future[Result]] = set()
    try:
        while True:
            for item in islice(source, 2 * jobs - len(running)):
                with interrupts_blocked():
                    running.add(pool.submit(function, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=False, kill_workers=True)

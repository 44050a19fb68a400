"""Worker processes of joblib's loky that end with this process."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing import current_process, resource_tracker
from typing import Any, TypeVar

from joblib.externals.loky import process_executor
from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

__all__ = [
    "ProcessPoolExecutor",
    "TerminatedWorkerError",
    "exit_codes",
    "interrupts_blocked",
    "pool",
    "unordered",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
# Bytes by which a worker may grow after its first task before loky replaces it. Networks differ by
# more than loky's 300 MB, and a new process takes seconds to import torch.
_MAX_GROWTH = 2 << 30
# Seconds between two checks of a worker whether its parent is alive.
_POLL_SECONDS = 0.5


def pool(processes: int) -> ProcessPoolExecutor:
    """Make a pool whose processes end with this one, even if it is killed."""
    return ProcessPoolExecutor(processes, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """In a worker: end with the parent."""
    process_executor._MAX_MEMORY_LEAK_SIZE = _MAX_GROWTH

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def exit_codes(error: BaseException) -> str:
    """Return the signals or exit codes that loky names in a TerminatedWorkerError's message."""
    text = str(error).rpartition("exit codes of the workers are")[2]
    return ", ".join(re.findall(r"\w+\(-?\d+\)", text)) or "unknown signal"


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which this process handles."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # The first worker starts Python's resource tracker, which lets Ctrl-C through again.
    resource_tracker.ensure_running()
    before: Any = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unordered(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Apply a function in `jobs` processes; yield results as they come.

    A daemonic process, such as a worker of Dask, may have no processes of its own: it uses threads.

    Raises:
        TerminatedWorkerError: A process was killed; earlier results are valid.
    """
    threads = current_process().daemon
    executor: Any = ThreadPoolExecutor(jobs) if threads else pool(jobs)
    source = iter(items)
    running: set[Future[Result]] = set()
    try:
        while True:
            for item in islice(source, 2 * jobs - len(running)):
                with interrupts_blocked():
                    running.add(executor.submit(function, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        executor.shutdown(wait=False, **{"cancel_futures" if threads else "kill_workers": True})

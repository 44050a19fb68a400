"""Worker processes leave Ctrl-C to their parent, which stops them."""

import subprocess
import sys

# A process of its own: in this one, earlier tests may have started a worker already.
FIRST_WORKERS = """
import signal

from designspace.io.process_pool import unordered

blocked = unordered(lambda _: signal.pthread_sigmask(signal.SIG_BLOCK, ()), range(2), 2)
print([sorted(map(int, one)) for one in blocked], signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


# Apply a function in a process as Dask starts its workers.
IN_A_DAEMON = """
import multiprocessing

from designspace.io.process_pool import unordered

def work():
    print(sorted(unordered(lambda x: x * x, range(20), 3)), flush=True)
    try:
        list(unordered(lambda x: 1 // x, [0], 2))
    except ZeroDivisionError as error:
        print(error)

process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
process.start()
process.join()
"""


def test_a_daemonic_process_uses_threads():
    process = subprocess.run(
        [sys.executable, "-c", IN_A_DAEMON], capture_output=True, text=True, check=True
    )
    squares = [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    squares += [100, 121, 144, 169, 196, 225, 256, 289, 324, 361]
    assert process.stdout == f"{squares}\ninteger division or modulo by zero\n", process.stderr


def test_the_first_workers_have_ctrl_c_blocked_too():
    process = subprocess.run(
        [sys.executable, "-c", FIRST_WORKERS], capture_output=True, text=True, check=True
    )
    assert process.stdout == "[[2], [2]] set()\n"

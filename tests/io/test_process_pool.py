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


def test_the_first_workers_have_ctrl_c_blocked_too():
    process = subprocess.run(
        [sys.executable, "-c", FIRST_WORKERS], capture_output=True, text=True, check=True
    )
    assert process.stdout == "[[2], [2]] set()\n"

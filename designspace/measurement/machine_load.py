"""How busy other processes keep the machine while something is measured."""

import os
import resource
import time
from pathlib import Path


class MachineLoad:
    """Counts from its creation on; `share` is read at the end."""

    def __init__(self) -> None:
        self._busy, self._own, self._since = _busy_seconds(), _own_seconds(), time.perf_counter()

    def share(self) -> float:
        """Return the share of all cores, 0 to 1, that other processes kept busy.

        Where the system does not count that, it is the load average of the last minute per core,
        which includes this process.
        """
        cores = os.cpu_count() or 1
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return float(min(1.0, os.getloadavg()[0] / cores))
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return float(min(1.0, max(0.0, others / (elapsed * cores))))


def _busy_seconds() -> float | None:
    """Return the CPU time of all processes, in seconds since the start of the machine."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system = (int(field) for field in fields[1:4])
        irq, soft, steal = (int(field) for field in fields[6:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)

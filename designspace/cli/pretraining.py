"""Pretraining on the terminal: a bar, or plain lines where there is none."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.cli.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.pretrain.run import Progressed

# Seconds between plain lines.
_LINE_EVERY = 10.0


@contextmanager
def pretraining_display(run: Path) -> Iterator["PretrainingDisplay"]:
    """Show pretraining as it goes; on Ctrl-C, say how to go on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TextColumn("{task.fields[about]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            yield PretrainingDisplay(bar if console.is_terminal else None)
    except KeyboardInterrupt as stop:
        stop.args = (f"stopped; the same command goes on in {run} from here",)
        raise


class PretrainingDisplay:
    """Draws what the loop tells."""

    def __init__(self, bar: "Progress | None") -> None:
        """Draw on a bar, or print lines without one."""
        self._bar = bar
        self._task = (
            bar.add_task("pretraining", total=None, visible=False, about="") if bar else None
        )
        self._line_at = 0.0
        self._alarms: set[str] = set()

    def note(self, text: str) -> None:
        """Print something that a person should know."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def decoded(self, done: int, total: int) -> None:
        """So many images are in the cache."""
        self._show("decoding images", done, total, "")

    def step(self, done: int, total: int, at: "Progressed") -> None:
        """So many iterations are done."""
        about = f"loss {at.loss:.4f}  lr {at.rate:.4g}  {at.images_per_second:.0f} images/s"
        self._show("pretraining", done, total, f"{about}  {duration(at.seconds_left)} left")

    def epoch(self, record: dict[str, Any]) -> None:
        """Say what an epoch brought."""
        knn = f", k-NN {record['knn']:.1f} %" if "knn" in record else ""
        self.note(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, "
            f"{record['prototypes_used']} prototypes used, spread {record['feature_std']:.2f}{knn}"
        )
        for name, text in record["alarms"].items():
            if name not in self._alarms:
                self.note(f"  ALARM: {text}")
        self._alarms = set(record["alarms"])

    def _show(self, name: str, done: int, total: int, about: str) -> None:
        now = time.monotonic()
        if self._bar and self._task is not None:
            self._bar.update(
                self._task, description=name, completed=done, total=total, about=about, visible=True
            )
        elif now - self._line_at >= _LINE_EVERY:
            self._line_at = now
            print(f"{name}: {done} of {total}  {about}".rstrip(), file=sys.stderr, flush=True)

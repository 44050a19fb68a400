"""Pretraining on the terminal: a bar, or plain lines where there is none."""

from typing import TYPE_CHECKING, Any

from designspace.cli.progress import Display, duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.pretraining.pretrain import PretrainProgress


class PretrainingDisplay(Display):
    """Draws what the loop tells."""

    def __init__(self, bar: "Progress | None") -> None:
        """Begin."""
        super().__init__(bar)
        self._alarms: set[str] = set()

    def begin(self, done: int, total: int) -> None:
        """Training begins, or goes on after so many iterations."""
        if done:
            through = "it is through" if done == total else f"training goes on at {done + 1}"
            self.note(f"{done} of {total} iterations were done before: {through}")

    def steps(
        self, records: list[dict[str, Any]], total: int, progress: "PretrainProgress"
    ) -> None:
        """These iterations are in the journal."""
        last = records[-1]
        speed = f"{progress.images_per_second:.0f} images/s"
        about = f"loss {last['loss']:.4f}  lr {last['lr']:.4g}  {speed}"
        left = f"{duration(progress.seconds_left)} left"
        self.show("pretraining", last["iteration"], total, f"{about}  {left}")

    def alarms(self, alarms: dict[str, str]) -> None:
        """Say what has come up, and what is over."""
        for name, text in alarms.items():
            if name not in self._alarms:
                self.note(f"  ALARM ({name}): {text}")
        for name in sorted(self._alarms - set(alarms)):
            self.note(f"  alarm over ({name})")
        self._alarms = set(alarms)

    def epoch(self, record: dict[str, Any]) -> None:
        """Say what an epoch brought."""
        knn = f", k-NN {record['knn']:.1f} %" if "knn" in record else ""
        self.note(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, "
            f"{record['prototypes_used']} prototypes used, spread {record['feature_std']:.2f}{knn}"
        )

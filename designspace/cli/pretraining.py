"""Pretraining on the terminal: a bar, or plain lines where there is none."""

from typing import TYPE_CHECKING, Any

from designspace.cli.progress import Display, duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.pretrain.run import Progressed


class PretrainingDisplay(Display):
    """Draws what the loop tells."""

    def __init__(self, bar: "Progress | None") -> None:
        """Begin."""
        super().__init__(bar)
        self._alarms: set[str] = set()

    def step(self, done: int, total: int, at: "Progressed") -> None:
        """So many iterations are done."""
        about = f"loss {at.loss:.4f}  lr {at.rate:.4g}  {at.images_per_second:.0f} images/s"
        self.show("pretraining", done, total, f"{about}  {duration(at.seconds_left)} left")

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

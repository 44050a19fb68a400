"""Pretraining on the terminal: a bar, or plain lines where there is none."""

from typing import TYPE_CHECKING, Any

from designspace.cli.progress import Display, duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from designspace.pretrain.pretrain import Progressed
    from designspace.pretrain.tensorboard import PretrainTensorBoard


class PretrainingDisplay(Display):
    """Draws what the loop tells."""

    def __init__(self, bar: "Progress | None", board: "PretrainTensorBoard | None" = None) -> None:
        """Begin.

        Args:
            bar: On a terminal.
            board: Gets every iteration and epoch, where there is one.
        """
        super().__init__(bar)
        self._board = board
        self._alarms: set[str] = set()

    def begin(self, done: int, total: int) -> None:
        """Training begins, or goes on after so many iterations."""
        if done:
            through = "it is through" if done == total else f"training goes on at {done + 1}"
            self.note(f"{done} of {total} iterations were done before: {through}")
        if self._board:
            self._board.begin(done)

    def steps(self, records: list[dict[str, Any]], total: int, at: "Progressed") -> None:
        """These iterations are in the journal."""
        last = records[-1]
        about = f"loss {last['loss']:.4f}  lr {last['lr']:.4g}  {at.images_per_second:.0f} images/s"
        left = f"{duration(at.seconds_left)} left"
        self.show("pretraining", last["iteration"], total, f"{about}  {left}")
        if self._board:
            self._board.steps(records)

    def alarms(self, found: dict[str, str]) -> None:
        """Say what has come up, and what is over."""
        for name, text in found.items():
            if name not in self._alarms:
                self.note(f"  ALARM ({name}): {text}")
        for name in sorted(self._alarms - set(found)):
            self.note(f"  alarm over ({name})")
        self._alarms = set(found)

    def epoch(self, record: dict[str, Any]) -> None:
        """Say what an epoch brought."""
        knn = f", k-NN {record['knn']:.1f} %" if "knn" in record else ""
        self.note(
            f"epoch {record['epoch']}: loss {record['loss']:.4f}, "
            f"{record['prototypes_used']} prototypes used, spread {record['feature_std']:.2f}{knn}"
        )
        if self._board:
            self._board.epoch(record)

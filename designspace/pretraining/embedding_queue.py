"""A queue of past embeddings, which small batches need to cover all prototypes."""

import torch
from torch import Tensor


class EmbeddingQueue:
    """The newest embeddings of each assigning crop; each process holds its part.

    Attributes:
        filled: Embeddings per crop in the queue.
    """

    def __init__(self, crops: int, length: int, dim: int, device: torch.device) -> None:
        """Allocate an empty queue of (crops, length, dim)."""
        self._rows = torch.zeros(crops, length, dim, device=device)
        self.filled = 0

    @property
    def full(self) -> bool:
        """Whether it is full; only then it is used."""
        return self.filled == self._rows.shape[1]

    def rows(self, crop: int) -> Tensor:
        """Return the embeddings of a crop, newest first, (length, dim)."""
        return self._rows[crop]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Prepend a batch of (crops, batch, dim) and drop the oldest."""
        batch = embeddings.shape[1]
        self._rows = torch.cat([embeddings.detach().float(), self._rows[:, :-batch]], dim=1)
        self.filled = min(self.filled + batch, self._rows.shape[1])

    def state(self) -> dict[str, Tensor | int]:
        """Return the state."""
        return {"rows": self._rows, "filled": self.filled}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Restore a state."""
        rows, filled = state["rows"], state["filled"]
        assert isinstance(rows, Tensor)
        assert isinstance(filled, int)
        self._rows, self.filled = rows.to(self._rows.device), filled

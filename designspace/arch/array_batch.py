"""Dataclasses of parallel arrays, one row a model: select, join and protect rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

_Batch = TypeVar("_Batch", bound="ArrayBatch")


@dataclass(frozen=True, eq=False)
class ArrayBatch:
    """Base of dataclasses whose fields are arrays (n, ...), maps of such, or shared constants."""

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """Select models by index, mask or slice."""
        return _map_arrays(lambda array: array[rows], self)

    def read_only(self) -> Self:
        """Return views of the same arrays that can't be written into."""
        return _map_arrays(_read_only, self)

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Join batches with equal constants, in order."""
        return _map_arrays(lambda *arrays: np.concatenate(arrays), *batches)


def _map_arrays(function: Callable[..., NDArray[Any]], *batches: _Batch) -> _Batch:
    changes: dict[str, Any] = {}
    for field in fields(batches[0]):
        values = [getattr(batch, field.name) for batch in batches]
        if isinstance(values[0], np.ndarray):
            changes[field.name] = function(*values)
        elif isinstance(values[0], Mapping):
            changes[field.name] = {
                key: function(*(value[key] for value in values)) for key in values[0]
            }
        else:
            assert all(value == values[0] for value in values), field.name
    return replace(batches[0], **changes)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view

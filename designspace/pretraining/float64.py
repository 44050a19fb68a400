"""Values in double precision, which Apple's GPUs lack."""

from torch import Tensor


def as_float64(values: Tensor) -> Tensor:
    """Return values as float64 on their device, or on the CPU if the device is MPS."""
    return (values.cpu() if values.device.type == "mps" else values).double()

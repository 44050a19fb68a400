"""The nonlinearities that a network's layers may have."""

from typing import Literal, get_args

Activation = Literal["relu", "silu", "gelu", "relu6"]
# Their order is that of `BodyBatch.activations`.
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

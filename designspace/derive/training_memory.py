"""Training memory of a network, predicted from its cost."""

from designspace.arch import Model

_BYTES = 4


def training_memory(model: Model, batch: int) -> int:
    """Predict the bytes that a float32 SGD step with momentum holds at its peak.

    Weights, gradients and momentum are three numbers a parameter. For the backward pass every
    convolution's output is kept twice: as the input of its BatchNorm, and normalised as the input
    of the next layer (ReLU works in place). Buffers of the convolution library come on top.

    Args:
        model: The network, at the resolution of its frame.
        batch: Images a step.
    """
    return _BYTES * (3 * model.params + 2 * batch * model.acts)

"""Predicted training memory equals what autograd keeps for the backward pass."""

import pytest
import torch

from designspace.arch import published
from designspace.derivation.scale_model import training_memory
from designspace.networks import build


@pytest.mark.parametrize("name", ["RegNetX-400MF", "RegNetY-1.6GF", "RegNetY-16GF"])
def test_activations_kept_for_backward(name):
    model, batch, kept = published(name), 4, {}
    network = build(model, device="meta").train()

    def pack(tensor):
        kept[id(tensor.untyped_storage())] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.empty(batch, 3, 224, 224, device="meta"))
    weights = {id(p.untyped_storage()) for p in network.parameters()}
    saved = sum(size for key, (_, size) in kept.items() if key not in weights)
    predicted = training_memory(model, batch) - 12 * model.params
    assert predicted == pytest.approx(saved, rel=0.2)

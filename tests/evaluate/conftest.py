"""What all tests of this room share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Torch's threads wait for one another actively: on busy cores that takes minutes."""
    torch.set_num_threads(1)

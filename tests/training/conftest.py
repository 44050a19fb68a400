"""The fixtures that tests of training and of its data share."""

import pytest
from training_fixtures import *  # noqa: F403


@pytest.fixture(autouse=True)
def _workers(worker_processes):
    """Workers are what is tested here."""

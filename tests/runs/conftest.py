"""The fixtures that tests of training, runs and data share."""

from training_fixtures import *  # noqa: F403

"""The fixtures that tests of training and of its data share."""

from training_fixtures import *  # noqa: F403

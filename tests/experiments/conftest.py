"""Made-up predictions, data, and one finished tiny run."""

from tests.made_up import made_up
from tests.training.fixtures import data, finished, plain_curves, run_tiny

__all__ = ["data", "finished", "made_up", "plain_curves", "run_tiny"]

"""Data, and one finished tiny run."""

from tests.training.fixtures import data, finished, plain_curves, run_tiny

__all__ = ["data", "finished", "plain_curves", "run_tiny"]

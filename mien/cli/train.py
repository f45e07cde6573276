"""`mien train`: a recipe and prepared data in, a run folder out."""

from __future__ import annotations


def train() -> None:
    """(being written)"""

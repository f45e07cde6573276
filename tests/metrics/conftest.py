"""Made-up predictions and prepared data."""

from tests.made_up import made_up, prepared

__all__ = ["made_up", "prepared"]

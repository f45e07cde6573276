"""A tiny bundle and pictures with known faces."""

from tests.inference.conftest import bundle, photos, portrait

__all__ = ["bundle", "photos", "portrait"]

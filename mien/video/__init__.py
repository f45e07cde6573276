"""Predict films, streams and cameras: one track and one smoothed prediction a person."""

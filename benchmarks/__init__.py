"""Measurements, each one command: `python -m benchmarks.NAME --help` from the repository's root."""

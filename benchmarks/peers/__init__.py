"""Comparisons with other packages, each installed in a virtual environment of its own."""

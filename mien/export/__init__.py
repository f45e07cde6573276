"""A run in, a model bundle out, checked against torch."""

"""Train a run folder from prepared data and a recipe."""

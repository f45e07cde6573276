"""A manifest and a recipe in, a run folder out."""

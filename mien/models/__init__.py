"""Crops in, logits and probabilities a task out: a timm backbone and one head class per kind of task."""

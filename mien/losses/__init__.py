"""Losses of logits and labels, one number per face. They know nothing of models."""

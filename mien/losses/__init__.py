"""Logits and labels in, one number a face out. Losses know nothing of models."""

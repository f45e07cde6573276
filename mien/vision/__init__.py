"""Decode, detect, align. The same code for training and prediction."""

"""Pixels in, aligned face crops out: decoding, detection, alignment. The same code for training and prediction."""

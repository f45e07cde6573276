"""Run bundles on images. Needs neither PyTorch nor pandas."""

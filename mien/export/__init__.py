"""Export a run as a bundle that is checked against PyTorch."""

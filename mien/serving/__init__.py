"""Serve a bundle over HTTP: uploads in, the documented JSON out. Needs mien[serve], and neither PyTorch nor pandas."""

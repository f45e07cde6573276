"""A bundle and images in, typed results out. Needs neither torch nor pandas."""

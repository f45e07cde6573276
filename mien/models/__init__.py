"""Networks of a timm backbone and one head per task."""

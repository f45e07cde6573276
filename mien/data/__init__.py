"""Prepare labelled face images: audited manifest, duplicates grouped, leakage-safe splits, crops."""

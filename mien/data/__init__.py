"""Labelled face images in, a prepared folder out: audited manifest, copies grouped, leakage-safe splits, crops."""

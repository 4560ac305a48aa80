"""Refine propagated masks with a small network."""

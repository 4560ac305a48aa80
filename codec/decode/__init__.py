"""Decode pictures with their side data."""

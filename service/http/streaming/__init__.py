"""Streams of job events and masks."""

"""Frames and a prompt -> masks."""

"""Run one video from its prompt to its results."""

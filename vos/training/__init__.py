"""Data sets, pseudo-clips, losses and loops that make the shipped weights."""

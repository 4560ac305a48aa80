"""Find the frames of a run to look at first."""

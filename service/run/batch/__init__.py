"""Segment many videos: plan the tasks, run one task, run many side by side, collect the results."""

"""Shared parts of the trainers: state, checkpoints, logs, losses, export."""

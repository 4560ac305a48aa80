"""What the trainers share: state, checkpoints, logs, losses, export."""

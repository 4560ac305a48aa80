"""Train the base network."""

"""Training of the base network."""

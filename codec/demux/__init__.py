"""Open containers and read packets."""

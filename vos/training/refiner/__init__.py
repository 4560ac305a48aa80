"""Train the refiner."""

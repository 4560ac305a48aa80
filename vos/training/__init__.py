"""Training of the shipped weights: data sets, synthetic clips, losses and loops."""

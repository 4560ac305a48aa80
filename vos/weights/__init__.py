"""Weights: catalog, files, conversion of published checkpoints, building networks."""

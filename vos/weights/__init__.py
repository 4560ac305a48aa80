"""Weights of the networks: catalog, files, conversion of published checkpoints, builders."""

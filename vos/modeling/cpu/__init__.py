"""Faster CPU versions of operators: top-k memory read and packed convolutions."""

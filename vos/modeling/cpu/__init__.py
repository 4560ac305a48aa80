"""Faster operators for CPUs: top-k memory read and packed convolutions."""

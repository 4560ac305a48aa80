"""Propagate masks along motion vectors and estimate their uncertainty."""

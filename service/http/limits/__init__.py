"""Limits on what clients may hold: connections, and places in lines."""

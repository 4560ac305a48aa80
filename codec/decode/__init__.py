"""Decode pictures with their side data, in presentation order."""

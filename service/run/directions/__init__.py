"""Prompts on any frame: propagate from them both ways, and join what comes from two sides."""

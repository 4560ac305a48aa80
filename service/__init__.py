"""Command line, runner and result writers."""

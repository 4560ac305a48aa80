"""Engines: what takes waiting jobs and runs them, in processes of their own."""
